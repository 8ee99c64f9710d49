// Package turn runs turns: a person's message in, the agent's whole answer out, both on disk before anyone hears of it.
package turn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/idle"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// maxAttempts is how often a turn is computed anew because another write overtook it. The caller sends the turns of a conversation
// one at a time, so even a second attempt is rare.
const maxAttempts = 4

// Store is the part of the store that turns need.
type Store interface {
	Position(ctx context.Context, lane store.Lane, turnID string) (*store.Position, error)
	CommitTurn(ctx context.Context, t *store.Turn) error
	FinishIdle(ctx context.Context, instance string, c *store.Conversation, end time.Time) error
	HasConversation(ctx context.Context, instance, id string) (bool, error)
}

// Programs gives compiled definitions.
type Programs interface {
	Get(ctx context.Context, instance, agentID string, version int32) (*flow.Program, error)
}

// Attendances opens attendances: the part of contactsv1.RecordServiceClient that turns need.
type Attendances interface {
	OpenAttendance(
		ctx context.Context, request *contactsv1.OpenAttendanceRequest, opts ...grpc.CallOption,
	) (*contactsv1.OpenAttendanceResponse, error)
}

// Instances looks instances up.
type Instances interface {
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// IDs makes identifiers.
type IDs interface{ New() string }

// Deps are what a Runner works with. All are required.
type Deps struct {
	Store       Store
	Programs    Programs
	Attendances Attendances
	Instances   Instances
	Clock       clock.Clock
	IDs         IDs
	Logger      *slog.Logger
	Tracer      trace.Tracer
	Metrics     *Metrics
	// Calls makes the calls of nodes.
	Calls flow.Caller
	// Hasher knows persons who were erased. Nil knows none.
	Hasher *erasure.Hasher
	// Models asks models, with what Past tells them; nil: none is asked. Remotes gives the engines of agents with a remote; nil: none has
	// one. Their flows answer then.
	Models  Models
	Past    Past
	Remotes Remotes
	// Committed is called after each turn that was committed, with what its answer and record were made of; the answer is not changed
	// any more. It must not block.
	Committed func(t *store.Turn, record *contactsv1.TurnRecord, answer *agentv1.RunTurnResponse)
}

// Runner runs turns. It is safe for concurrent use.
type Runner struct {
	Deps
	zones  zones
	lanes  *lanes
	agents *agents
}

// NewRunner returns a runner.
func NewRunner(deps Deps) *Runner {
	return &Runner{Deps: deps, lanes: newLanes(maxLanes, maxLaneBytes), agents: newAgents()}
}

// AgentChanged tells that an agent was changed or deleted, or may have been, by this process: turns that begin from now on see it. A
// change by another process is seen within two seconds.
func (r *Runner) AgentChanged(instance, agentID string) { r.agents.drop(instance, agentID) }

// AnyAgentChanged is AgentChanged for all of them.
func (r *Runner) AnyAgentChanged() { r.agents.dropAll() }

// Run runs the turn of a message, or gives its stored answer when it has run. Errors: AGENT_NOT_FOUND, which is final, also for an
// unknown instance; CONVERSATION_FINISHED; REQUEST_INVALID; UNAVAILABLE, DEADLINE_EXCEEDED and CANCELED, after which the same call finds out what
// happened; INTERNAL.
//
// The sink gets the answer while it is made, and it is the answer only once Run has returned without an error. The answer of a turn
// that has run already goes to it as whole messages.
func (r *Runner) Run(ctx context.Context, request *agentv1.RunTurnRequest, sink engine.Sink) (*agentv1.RunTurnResponse, error) {
	began := r.Clock.Now()
	response, outcome, err := r.run(ctx, request, sink, began)
	if err != nil {
		err = rpcerr.FromStore(fromErased(err))
		outcome = outcomeOf(err)
	}
	if err == nil || !errors.Is(context.Cause(ctx), ErrWithdrawn) {
		r.Metrics.observe(outcome, r.Clock.Now().Sub(began))
	}
	return response, err
}

func (r *Runner) run(
	ctx context.Context, request *agentv1.RunTurnRequest, sink engine.Sink, began time.Time,
) (*agentv1.RunTurnResponse, string, error) {
	if err := check(request); err != nil {
		return nil, "", err
	}
	lane := store.Lane{
		Instance: request.GetInstance(), AgentID: request.GetAgentId(), EndpointID: request.GetEndpointId(),
		Identifier: request.GetIdentifier(),
	}
	position := r.remembered(lane, request.GetMessageId(), began)
	for range maxAttempts {
		response, outcome, err := r.attempt(ctx, request, lane, position, sink, began)
		position = nil
		if !errors.Is(err, store.ErrConflict) {
			return response, outcome, err
		}
		sink.Restart()
	}
	return nil, "", rpcerr.Unavailable(fmt.Errorf("run turn: %d attempts: %w", maxAttempts, store.ErrConflict))
}

// check refuses what the store of one engine cannot keep as text.
func check(request *agentv1.RunTurnRequest) error {
	var violations []rpcerr.Violation
	for _, f := range []struct{ name, value string }{
		{"instance", request.GetInstance()}, {"agentId", request.GetAgentId()}, {"messageId", request.GetMessageId()}, {"source", request.GetSource()},
		{"endpointId", request.GetEndpointId()}, {"identifier", request.GetIdentifier()},
	} {
		if strings.IndexByte(f.value, 0) >= 0 {
			violations = append(violations, rpcerr.Violation{Field: f.name, Reason: "must not contain NUL"})
		}
	}
	if violations != nil {
		return rpcerr.Invalid(violations...)
	}
	return nil
}

// attempt computes the turn on a position, or the present one when that is nil, and commits it; store.ErrConflict when that was no
// longer the present one.
func (r *Runner) attempt(
	ctx context.Context, request *agentv1.RunTurnRequest, lane store.Lane, position *position, sink engine.Sink, began time.Time,
) (*agentv1.RunTurnResponse, string, error) {
	if position == nil {
		var err error
		if position, err = r.read(ctx, lane, request.GetMessageId()); err != nil {
			return nil, "", err
		}
	}
	if position.Answer != nil {
		// Before anything else: also when the agent is deleted since, or the turn ended its conversation.
		stored := &agentv1.RunTurnResponse{}
		if err := proto.Unmarshal(position.Answer, stored); err != nil {
			return nil, "", fmt.Errorf("decode stored answer: %w", err)
		}
		for _, m := range stored.GetMessages() {
			sink.Message(m)
		}
		return stored, outcomeRepeated, nil
	}
	if position.Deleted {
		return nil, "", agentNotFound(lane.AgentID)
	}
	instance, err := r.Instances.Get(ctx, lane.Instance)
	if rpcerr.Code(err) == codes.NotFound {
		// An agent of no instance is no agent, and the caller learns that it need not come again.
		return nil, "", agentNotFound(lane.AgentID).WithCause(err)
	}
	if err != nil {
		return nil, "", err
	}
	opened, err := r.conversation(ctx, request, lane, position, instance, sink)
	if err != nil {
		return nil, "", err
	}
	input, err := r.input(request, lane, position, instance, opened, sink)
	if err != nil {
		return nil, "", err
	}
	var seen shown
	var result *flow.Result
	if stream, ok := sink.(Stream); ok {
		result, seen, err = r.show(ctx, lane, opened, input, stream)
	} else {
		result, err = r.runFlow(ctx, lane, opened, input, sink)
	}
	if err != nil {
		return nil, "", err
	}
	response := answer(ctx, opened, result)
	seen.mark(response)
	if request.GetReturnContext() {
		response.Context = &structpb.Struct{Fields: result.Context}
	}
	response.Debug.DurationMs = float64(r.Clock.Now().Sub(began)) / float64(time.Millisecond)
	record := turnRecord(request, result, input.Now)
	finished, err := finishedTurn(request, lane, opened, result, response, record, input.Now)
	if err != nil {
		return nil, "", err
	}
	finished.Person = erasure.Subject{
		Hasher: r.Hasher, Instance: lane.Instance, Identifier: lane.Identifier, Accepted: request.GetAcceptTime().AsTime(),
	}
	if err := stored(ctx, sink); err != nil {
		return nil, "", err
	}
	if err := r.Store.CommitTurn(ctx, finished); err != nil {
		return nil, "", err
	}
	if !finished.Finished {
		r.lanes.put(standing{lane: lane, conversation: finished.After()})
	}
	r.Committed(finished, record, response)
	return response, outcomeAnswered, nil
}

// opening is the conversation that a turn belongs to.
type opening struct {
	store.Conversation
	program *flow.Program
	// isNew says that the conversation opens with this turn; attributes is then what is known about the person.
	isNew      bool
	attributes map[string]string
}

// conversation finds the conversation of the lane, or opens one.
func (r *Runner) conversation(
	ctx context.Context, request *agentv1.RunTurnRequest, lane store.Lane, position *position, instance *accountsv1.Instance,
	sink engine.Sink,
) (*opening, error) {
	current := position.Conversation
	if current != nil {
		// It goes by when the message was accepted: one that waited here for its turn came in time.
		end, ends := idle.End(current.UpdateTime, instance)
		if ends && !request.GetAcceptTime().AsTime().Before(end) {
			if position.remembered {
				// It may have moved on. What follows opens an attendance, so it is not done on a hint.
				return nil, store.ErrConflict
			}
			if err := stored(ctx, sink); err != nil {
				return nil, err
			}
			// If it moves on at this very moment the new one cannot be committed beside it, and the turn is computed anew.
			if err := r.Store.FinishIdle(ctx, lane.Instance, current, end); err != nil {
				return nil, err
			}
			current = nil
		}
	}
	version := position.Agent.Version
	if current != nil {
		version = current.AgentVersion
	}
	// Before the attendance is opened: a definition that does not load must not leave an empty attendance behind.
	program, err := r.Programs.Get(ctx, lane.Instance, lane.AgentID, version)
	if err != nil {
		return nil, fmt.Errorf("get program: %w", err)
	}
	if current != nil {
		return &opening{Conversation: *current, program: program}, nil
	}
	if err := r.unopened(ctx, request); err != nil {
		return nil, err
	}
	if err := stored(ctx, sink); err != nil {
		return nil, err
	}
	attendance, err := r.Attendances.OpenAttendance(ctx, &contactsv1.OpenAttendanceRequest{
		Instance: lane.Instance, RequestId: cmp.Or(request.GetInteractionId(), request.GetMessageId()), AssistantId: position.Agent.AssistantID,
		Identifier: lane.Identifier, Source: request.GetSource(), Time: request.GetAcceptTime(), InteractionId: request.GetInteractionId(),
	})
	if err != nil {
		return nil, rpcerr.FromPeer(fmt.Errorf("open attendance: %w", err), errErased)
	}
	return &opening{
		Conversation: store.Conversation{
			ID: attendance.GetInteractionId(), ContactID: attendance.GetContactId(), AttendanceID: attendance.GetAttendanceId(),
			AgentVersion: version,
		},
		program: program, isNew: true, attributes: attendance.GetAttributes(),
	}, nil
}

// input is what the flow gets.
func (r *Runner) input(
	request *agentv1.RunTurnRequest, lane store.Lane, position *position, instance *accountsv1.Instance, c *opening, sink engine.Sink,
) (flow.Turn, error) {
	input := flow.Turn{
		Opening: c.isNew, Text: request.GetText(), Postback: request.GetPostback(),
		NoInput: request.GetNoInput(), Sent: request.GetContext().GetFields(),
		Now: r.Clock.Now(), Location: r.zones.get(instance.GetTimeZone()),
		InstanceSlug: instance.GetSlug(), InstanceName: instance.GetDisplayName(),
		AgentID: position.Agent.ID, AgentName: position.Agent.Name(),
		Attributes: c.attributes, NewID: r.IDs.New, ID: request.GetMessageId(), ConversationID: c.ID, Caller: r.callsOf(sink),
	}
	input.Model = r.model(lane, c, sink)
	if request.GetInteractionId() != "" {
		repeatable(&input, request)
	}
	if c.isNew {
		return input, nil
	}
	input.State = &agentv1.FlowState{}
	if err := proto.Unmarshal(c.FlowState, input.State); err != nil {
		return flow.Turn{}, fmt.Errorf("decode flow state: %w", err)
	}
	return input, nil
}

func (r *Runner) runFlow(
	ctx context.Context, lane store.Lane, c *opening, input flow.Turn, sink engine.Sink,
) (*flow.Result, error) {
	ctx, span := r.Tracer.Start(ctx, "prosa.agent.flow")
	defer span.End()
	if c.program.Remote() != nil {
		// What a team's program makes of a message is its own; it sees none that may never have been said.
		if err := stored(ctx, sink); err != nil {
			return nil, err
		}
	}
	result, err := r.engine(c).Run(ctx, input, sink)
	if err := stored(ctx, sink); err != nil {
		return nil, err // before anything is logged
	}
	if err != nil {
		return nil, r.broken(ctx, lane, c, fmt.Errorf("run flow: %w", err))
	}
	if result.Fault != "" {
		r.silent(ctx, lane, c, result.Fault)
	}
	if result.Stopped != "" {
		r.Logger.LogAttrs(ctx, slog.LevelWarn, "flow was stopped",
			slog.String("reason", result.Stopped), slog.String("instance", lane.Instance), slog.String("agent_id", lane.AgentID),
			slog.Int("agent_version", int(c.AgentVersion)), slog.String("conversation_id", c.ID))
	}
	return result, nil
}

func answer(ctx context.Context, c *opening, result *flow.Result) *agentv1.RunTurnResponse {
	debug := &agentv1.TurnDebug{
		AgentVersion: c.AgentVersion, Node: result.Node, Intent: result.Intent, Confidence: result.Confidence,
	}
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() { // else nobody could find the trace
		debug.TraceId = span.TraceID().String()
	}
	return &agentv1.RunTurnResponse{
		ContactId: c.ContactID, InteractionId: c.ID, AttendanceId: c.AttendanceID, Messages: result.Messages, Debug: debug,
		Finished: result.Finished,
	}
}

func agentNotFound(agentID string) *rpcerr.Error {
	return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_AGENT_NOT_FOUND, "no such agent", "id", agentID)
}

// errErased is about a message of somebody who was erased after it was accepted. It is final.
var errErased = rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_PERSON_ERASED, "the person was erased")

func fromErased(err error) error {
	if errors.Is(err, store.ErrErased) {
		return errErased
	}
	return err
}

// Package dryrun runs turns of which nothing is stored, for those who write agents.
package dryrun

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/registry"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// Agents reads agents.
type Agents interface {
	// Definition is an agent, its Version being the one that is given, and the definition of that version; 0 is the newest.
	Definition(ctx context.Context, instance, agentID string, version int32) (*agentv1.Agent, *agentv1.AgentDefinition, error)
}

// Instances looks instances up.
type Instances interface {
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// IDs makes identifiers.
type IDs interface{ New() string }

// Deps are what a Runner works with. All are required.
type Deps struct {
	Agents    Agents
	Instances Instances
	Clock     clock.Clock
	IDs       IDs
	// Box encrypts the state between two turns.
	Box *secretbox.Box
	// Calls makes the calls that are really to be made, Models asks the models that are really to be asked, and Remotes gives the engines
	// that are really to answer.
	Calls   flow.Caller
	Models  Models
	Remotes Remotes
}

// Runner runs dry turns. It is safe for concurrent use. Its errors may be sent as they are.
type Runner struct{ deps Deps }

// NewRunner returns a runner.
func NewRunner(deps Deps) *Runner { return &Runner{deps} }

// Run runs one turn. Errors: AGENT_NOT_FOUND, AGENT_VERSION_NOT_FOUND, AGENT_DEFINITION_INVALID, REQUEST_INVALID for a state that is not
// of this agent.
func (r *Runner) Run(ctx context.Context, request *agentv1.TestAgentRequest) (*agentv1.TestAgentResponse, error) {
	began := r.deps.Clock.Now()
	agent, def, err := r.deps.Agents.Definition(ctx, request.GetInstance(), request.GetId(), request.GetVersion())
	if err != nil {
		return nil, err
	}
	if request.GetDefinition().GetKind() != nil {
		if def, err = registry.Parse("definition", request.GetDefinition()); err != nil {
			return nil, err
		}
		agent.Version = 0
	}
	program, err := flow.Compile(def)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	input, err := r.input(ctx, request, agent, began)
	if err != nil {
		return nil, err
	}
	result, err := r.engine(request, program).Run(ctx, input, flow.Discard)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response, err := r.response(request, result)
	if err != nil {
		return nil, err
	}
	response.Debug.AgentVersion = agent.GetVersion()
	response.Debug.DurationMs = float64(r.deps.Clock.Now().Sub(began)) / float64(time.Millisecond)
	return response, nil
}

func (r *Runner) input(ctx context.Context, request *agentv1.TestAgentRequest, agent *agentv1.Agent, now time.Time) (flow.Turn, error) {
	instance, err := r.deps.Instances.Get(ctx, request.GetInstance())
	if err != nil {
		return flow.Turn{}, rpcerr.FromStore(err)
	}
	location, err := time.LoadLocation(instance.GetTimeZone())
	if err != nil {
		location = time.UTC
	}
	input := flow.Turn{
		Opening: request.GetState() == "", Text: request.GetText(), Postback: request.GetPostback(), NoInput: request.GetNoInput(),
		Sent: request.GetContext().GetFields(), Now: now, Location: location, InstanceSlug: instance.GetSlug(),
		InstanceName: instance.GetDisplayName(), AgentID: agent.GetId(), AgentName: agent.GetDisplayName(), Attributes: request.GetContact(),
		NewID: r.deps.IDs.New, ID: r.deps.IDs.New(), ConversationID: r.deps.IDs.New(), Caller: r.caller(request),
	}
	if request.GetMakeCalls() {
		input.Model = asking{models: r.deps.Models, instance: request.GetInstance()}
	}
	if input.Opening {
		return input, nil
	}
	input.State, err = r.open(request)
	return input, err
}

func (r *Runner) response(request *agentv1.TestAgentRequest, result *flow.Result) (*agentv1.TestAgentResponse, error) {
	response := &agentv1.TestAgentResponse{
		Messages: result.Messages,
		Debug:    &agentv1.TurnDebug{Node: result.Node, Intent: result.Intent, Confidence: result.Confidence},
		Contact:  result.Attributes, Context: &structpb.Struct{Fields: result.Context}, Finished: result.Finished,
		Squad: result.State.GetHandoff().GetSquad(), Stopped: result.Stopped,
		Fault: result.Fault,
	}
	for _, event := range result.Events {
		response.Events = append(response.Events, &agentv1.TestedEvent{Name: event.Name, Details: event.Details})
	}
	for i := range result.Calls {
		response.Calls = append(response.Calls, called(&result.Calls[i]))
	}
	var err error
	if !result.Finished {
		response.State, err = r.seal(request, result.State)
	}
	return response, err
}

func called(c *flow.Called) *agentv1.TestedCall {
	made := &agentv1.TestedCall{Node: c.Node, Outcome: string(c.Outcome), StatusCode: int32(c.Status)}
	if c.Request != nil {
		made.Method, made.Url, made.Body = c.Request.Method, c.Request.URL, c.Request.Body
	}
	return made
}

// place is what a state belongs to.
func place(request *agentv1.TestAgentRequest) string {
	return "agent/test/" + request.GetInstance() + "/" + request.GetId()
}

func (r *Runner) seal(request *agentv1.TestAgentRequest, state *agentv1.FlowState) (string, error) {
	raw, err := proto.Marshal(state)
	if err != nil {
		return "", rpcerr.Internal(fmt.Errorf("encode state: %w", err))
	}
	sealed, err := r.deps.Box.Seal(raw, place(request))
	if err != nil {
		return "", rpcerr.Internal(fmt.Errorf("seal state: %w", err))
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

func (r *Runner) open(request *agentv1.TestAgentRequest) (*agentv1.FlowState, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(request.GetState())
	if err != nil {
		return nil, badState(err)
	}
	raw, err := r.deps.Box.Open(sealed, place(request))
	if err != nil {
		return nil, badState(err)
	}
	state := &agentv1.FlowState{}
	if err := proto.Unmarshal(raw, state); err != nil {
		return nil, rpcerr.Internal(errors.Join(errors.New("decode state"), err))
	}
	return state, nil
}

func badState(err error) error {
	return rpcerr.Invalid(rpcerr.Violation{Field: "state", Reason: "is no state of a test of this agent"}).WithCause(err)
}

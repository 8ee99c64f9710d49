// Package remote has a team's own program answer: a gRPC server of prosa.agent.v1.EngineService, which an agent's definition names. What
// comes back is written by a stranger: it keeps the limits of a flow's answer, and every wait has an end.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

const (
	// maxStep is how many bytes a step may have.
	maxStep = 256 << 10
	// maxSteps is how many steps an answer may have: that of the largest text, by single characters, has no more.
	maxSteps = 1 << 20

	// defaultTimeout is how long a program may take for a turn. Where nobody reads along, who waits gives up after 30 seconds, and the flow
	// needs the rest to answer in its place.
	defaultTimeout = 60 * time.Second
	unseenTimeout  = 25 * time.Second
)

// What can go wrong; a status other than OK is reasonStatus and its name.
const (
	reasonAddress = "address_refused" // the guard does not let the target be called
	reasonSecret  = "secret_missing"  // the secret that holds the token is not there
	reasonTimeout = "timeout"
	reasonStatus  = "status_"
	reasonStep    = "invalid_step" // a step that breaks a rule of the contract
	reasonSteps   = "too_many_steps"
)

func fault(reason string) *flow.Fault { return &flow.Fault{Reason: reason} }

// turnEngine answers the turns of one definition.
type turnEngine struct {
	pool    *Pool
	program *flow.Program
}

// Run implements engine.Engine. The definition's flow answers when the program does not, and nobody saw a part of its answer.
func (e *turnEngine) Run(ctx context.Context, t flow.Turn, sink engine.Sink) (*flow.Result, error) {
	answer := e.program.Answer(ctx, t, sink)
	if answer.Silent() {
		return e.program.Run(ctx, t, sink)
	}
	err := e.ask(ctx, &t, answer, sink)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("run turn: %w", ctx.Err())
	}
	var failed *flow.Fault
	switch {
	case err == nil:
		return answer.Result(), nil
	case answer.Seen():
		return nil, fmt.Errorf("run turn: %w: %w", flow.ErrInterrupted, err)
	case !errors.As(err, &failed):
		return nil, fmt.Errorf("run turn: %w", err)
	}
	result, err := e.program.Run(ctx, t, sink)
	if err == nil && result.Fault == "" {
		result.Fault = failed.Reason
	}
	return result, err
}

// ask has the program answer. Errors: a *flow.Fault.
func (e *turnEngine) ask(ctx context.Context, t *flow.Turn, a *flow.Answer, sink engine.Sink) error {
	settings := e.program.Remote()
	ctx, err := e.authorise(ctx, t.InstanceSlug, settings.GetTokenSecret())
	if err != nil {
		return err
	}
	ctx, stop := e.limit(ctx, settings, sink)
	defer stop()
	connection, release, err := e.pool.get(settings)
	if err != nil {
		return fault(reasonStatus + "invalid_argument")
	}
	defer release()
	stream, err := agentv1.NewEngineServiceClient(connection).AnswerTurn(ctx, request(t, a), grpc.MaxCallRecvMsgSize(maxStep))
	if err != nil {
		return e.failed(ctx, connection, err)
	}
	for range maxSteps {
		step, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return e.failed(ctx, connection, err)
		}
		if over, err := take(a, step); over || err != nil {
			return err
		}
	}
	return fault(reasonSteps)
}

// authorise adds the token to what is sent.
func (e *turnEngine) authorise(ctx context.Context, instance, secret string) (context.Context, error) {
	if secret == "" {
		return ctx, nil
	}
	token, err := e.pool.deps.Secrets.Secret(ctx, instance, secret)
	if err != nil || token == "" {
		return nil, fault(reasonSecret)
	}
	return metadata.NewOutgoingContext(ctx, metadata.Pairs("authorization", "Bearer "+token)), nil
}

// limit ends the context when the program has taken too long.
func (e *turnEngine) limit(ctx context.Context, settings *agentv1.Remote, sink engine.Sink) (context.Context, func()) {
	timeout := defaultTimeout
	if d := settings.GetTimeout(); d != nil {
		timeout = d.AsDuration()
	}
	if sink == engine.Discard {
		timeout = min(timeout, unseenTimeout)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := e.pool.deps.Clock.NewTimer(timeout)
	go func() {
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C():
			cancel(fault(reasonTimeout))
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

func (e *turnEngine) failed(ctx context.Context, c *connection, err error) error {
	var late *flow.Fault
	switch code := status.Code(err); {
	case errors.As(context.Cause(ctx), &late):
		return late
	case code == codes.Unavailable && c.refused.Load():
		return fault(reasonAddress)
	default:
		return fault(reasonStatus + strings.ToLower(code.String()))
	}
}

func request(t *flow.Turn, a *flow.Answer) *agentv1.AnswerTurnRequest {
	zone := "UTC"
	if t.Location != nil {
		zone = t.Location.String()
	}
	return &agentv1.AnswerTurnRequest{
		Instance: t.InstanceSlug, InstanceName: t.InstanceName, AgentId: t.AgentID, AgentName: t.AgentName,
		ConversationId: t.ConversationID, TurnId: t.ID, Opening: t.Opening, Text: t.Text, Postback: t.Postback, NoInput: t.NoInput,
		Time: timestamppb.New(t.Now), TimeZone: zone, Context: &structpb.Struct{Fields: a.Context()}, Contact: a.Contact(),
	}
}

// take does a step, and reports whether it was the last.
func take(a *flow.Answer, step *agentv1.AnswerTurnResponse) (over bool, err error) {
	switch s := step.GetStep().(type) {
	case *agentv1.AnswerTurnResponse_Text:
		// By far the most: its only rule is checked here, without the cost of the general way.
		if len(s.Text.GetPiece()) > maxPiece {
			return false, fault(reasonStep)
		}
		a.Text(s.Text.GetPiece(), s.Text.GetLast())
		return a.Stopped(), nil
	case *agentv1.AnswerTurnResponse_Message:
		if a.Message(s.Message) != nil {
			return false, fault(reasonStep)
		}
		return a.Stopped(), nil
	}
	if protovalidate.Validate(step) != nil {
		return false, fault(reasonStep)
	}
	kept := true
	switch s := step.GetStep().(type) {
	case *agentv1.AnswerTurnResponse_Event:
		kept = a.Report(s.Event.GetName(), s.Event.GetDetails())
	case *agentv1.AnswerTurnResponse_Context:
		for name, value := range s.Context.GetFields() {
			kept = a.Keep(name, value) && kept
		}
	case *agentv1.AnswerTurnResponse_Contact:
		for name, value := range s.Contact.GetAttributes() {
			a.Learn(name, value)
		}
	case *agentv1.AnswerTurnResponse_Handoff:
		a.HandOver(s.Handoff)
		return true, nil
	case *agentv1.AnswerTurnResponse_End:
		a.End()
		return true, nil
	}
	if !kept {
		return false, fault(reasonStep)
	}
	return a.Stopped(), nil
}

// maxPiece is how many bytes a piece of text may have: 10,000 characters.
const maxPiece = 40_000

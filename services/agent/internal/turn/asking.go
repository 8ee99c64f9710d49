package turn

import (
	"context"
	"errors"
	"log/slog"

	"go.opentelemetry.io/otel/codes"

	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// Models asks language models.
type Models interface {
	Ask(ctx context.Context, instance string, p *flow.Prompt, text func(piece string)) (*flow.Reply, error)
}

// Past reads what was said in the last turns of a conversation, at most as many as asked for, oldest first.
type Past interface {
	Read(ctx context.Context, instance string, c *store.Conversation, turns int) ([]flow.Exchange, error)
}

// Remotes gives the engines of agents that a program of their team answers.
type Remotes interface {
	// Engine is that of a definition with a remote; its flow answers when the remote does not.
	Engine(p *flow.Program) engine.Engine
}

// asking asks models for one turn.
type asking struct {
	runner   *Runner
	instance string
	standing *store.Conversation // before the turn
	sink     engine.Sink
}

// Past implements flow.Model. It is read only now that a model is asked.
func (a *asking) Past(ctx context.Context, turns int) ([]flow.Exchange, error) {
	return a.runner.Past.Read(ctx, a.instance, a.standing, turns)
}

// Ask implements flow.Model.
func (a *asking) Ask(ctx context.Context, p *flow.Prompt, text func(piece string)) (*flow.Reply, error) {
	if err := stored(ctx, a.sink); err != nil {
		return nil, err
	}
	ctx, span := a.runner.Tracer.Start(ctx, "prosa.agent.model")
	defer span.End()
	reply, err := a.runner.Models.Ask(ctx, a.instance, p, text)
	if err != nil {
		span.SetStatus(codes.Error, "") // the log says why
	}
	return reply, err
}

// model is what asks the model of a conversation's program, nil if it has none.
func (r *Runner) model(lane store.Lane, c *opening, sink engine.Sink) flow.Model {
	if r.Models == nil || !c.program.Asks() {
		return nil
	}
	return &asking{runner: r, instance: lane.Instance, standing: &c.Conversation, sink: sink}
}

// engine is what answers the turns of a conversation.
func (r *Runner) engine(c *opening) engine.Engine {
	if r.Remotes != nil && c.program.Remote() != nil {
		return r.Remotes.Engine(c.program)
	}
	return c.program
}

// silent logs that a model or a remote program gave no answer, and why; the flow may have answered in its place.
func (r *Runner) silent(ctx context.Context, lane store.Lane, c *opening, fault string) {
	r.Logger.LogAttrs(ctx, slog.LevelWarn, "model or remote program did not answer",
		slog.String("reason", fault), slog.String("instance", lane.Instance), slog.String("agent_id", lane.AgentID),
		slog.Int("agent_version", int(c.AgentVersion)), slog.String("conversation_id", c.ID))
}

// broken is the error of a turn whose answer broke off, or any other as it is.
func (r *Runner) broken(ctx context.Context, lane store.Lane, c *opening, err error) error {
	var fault *flow.Fault
	if !errors.Is(err, flow.ErrInterrupted) || !errors.As(err, &fault) {
		return err
	}
	r.silent(ctx, lane, c, fault.Reason)
	return interrupted.WithCause(err)
}

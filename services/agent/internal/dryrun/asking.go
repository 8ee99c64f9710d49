package dryrun

import (
	"context"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// Models asks language models.
type Models interface {
	Ask(ctx context.Context, instance string, p *flow.Prompt, text func(piece string)) (*flow.Reply, error)
}

// Remotes gives the engines of agents that a program of their team answers.
type Remotes interface {
	Engine(p *flow.Program) engine.Engine
}

// engine is what answers: a remote only if it is really to be asked.
func (r *Runner) engine(request *agentv1.TestAgentRequest, program *flow.Program) engine.Engine {
	if request.GetMakeCalls() && program.Remote() != nil {
		return r.deps.Remotes.Engine(program)
	}
	return program
}

// asking asks models for a turn of which nothing was stored before.
type asking struct {
	models   Models
	instance string
}

// Past implements flow.Model.
func (asking) Past(context.Context, int) ([]flow.Exchange, error) { return nil, nil }

// Ask implements flow.Model.
func (a asking) Ask(ctx context.Context, p *flow.Prompt, text func(piece string)) (*flow.Reply, error) {
	return a.models.Ask(ctx, a.instance, p, text)
}

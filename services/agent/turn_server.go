package agent

import (
	"context"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/registry"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
)

// turnServer is TurnService.
type turnServer struct {
	agentv1.UnimplementedTurnServiceServer
	runner *turn.Runner
	agents *registry.Registry
}

// RunTurn runs one turn.
func (s *turnServer) RunTurn(ctx context.Context, r *agentv1.RunTurnRequest) (*agentv1.RunTurnResponse, error) {
	return s.runner.Run(ctx, r, engine.Discard)
}

// LookupAgent says that an agent exists.
func (s *turnServer) LookupAgent(ctx context.Context, r *agentv1.LookupAgentRequest) (*agentv1.LookupAgentResponse, error) {
	number, err := s.agents.Lookup(ctx, r.GetInstance(), r.GetAgentId())
	if err != nil {
		return nil, err
	}
	return &agentv1.LookupAgentResponse{AssistantId: number}, nil
}

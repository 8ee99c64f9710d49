package agent

import (
	"context"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/dryrun"
	"github.com/prosa-chat/prosa/services/agent/internal/registry"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// managementServer is AgentService.
type managementServer struct {
	agentv1.UnimplementedAgentServiceServer
	agents    *registry.Registry
	instances Instances
	dry       *dryrun.Runner
}

// CreateAgent makes an agent with its first version.
func (s *managementServer) CreateAgent(ctx context.Context, r *agentv1.CreateAgentRequest) (*agentv1.CreateAgentResponse, error) {
	if err := s.instanceExists(ctx, r.GetInstance()); err != nil {
		return nil, err
	}
	key, err := idempotency.OfRequest(ctx, r.GetInstance(), agentv1.AgentService_CreateAgent_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	agent, err := s.agents.Create(ctx, r, key)
	if err != nil {
		return nil, err
	}
	return &agentv1.CreateAgentResponse{Agent: agent}, nil
}

// ListAgents gives the agents of an instance, oldest first.
func (s *managementServer) ListAgents(ctx context.Context, r *agentv1.ListAgentsRequest) (*agentv1.ListAgentsResponse, error) {
	if err := s.instanceExists(ctx, r.GetInstance()); err != nil {
		return nil, err
	}
	agents, next, err := s.agents.List(ctx, r)
	if err != nil {
		return nil, err
	}
	return &agentv1.ListAgentsResponse{Agents: agents, NextPageToken: next}, nil
}

// GetAgent gives one agent with its newest definition.
func (s *managementServer) GetAgent(ctx context.Context, r *agentv1.GetAgentRequest) (*agentv1.GetAgentResponse, error) {
	agent, err := s.agents.Get(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, err
	}
	return &agentv1.GetAgentResponse{Agent: agent}, nil
}

// UpdateAgent changes the fields named by the mask.
func (s *managementServer) UpdateAgent(ctx context.Context, r *agentv1.UpdateAgentRequest) (*agentv1.UpdateAgentResponse, error) {
	agent, err := s.agents.Update(ctx, r)
	if err != nil {
		return nil, err
	}
	return &agentv1.UpdateAgentResponse{Agent: agent}, nil
}

// DeleteAgent ends an agent.
func (s *managementServer) DeleteAgent(ctx context.Context, r *agentv1.DeleteAgentRequest) (*agentv1.DeleteAgentResponse, error) {
	if err := s.agents.Delete(ctx, r.GetInstance(), r.GetId()); err != nil {
		return nil, err
	}
	return &agentv1.DeleteAgentResponse{}, nil
}

// instanceExists asks for the instance.
func (s *managementServer) instanceExists(ctx context.Context, instance string) error {
	return instanceExists(ctx, s.instances, instance)
}

// instanceExists asks for an instance unless the caller's key, which is of that instance, shows that there is one.
func instanceExists(ctx context.Context, instances Instances, instance string) error {
	if auth.FromContext(ctx).Instance == instance {
		return nil
	}
	_, err := instances.Get(ctx, instance)
	return rpcerr.FromStore(err)
}

package agent

import (
	"context"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// ListAgentVersions gives the versions of an agent, newest first.
func (s *managementServer) ListAgentVersions(
	ctx context.Context, r *agentv1.ListAgentVersionsRequest,
) (*agentv1.ListAgentVersionsResponse, error) {
	versions, next, err := s.agents.Versions(ctx, r)
	if err != nil {
		return nil, err
	}
	return &agentv1.ListAgentVersionsResponse{Versions: versions, NextPageToken: next}, nil
}

// GetAgentVersion gives one version with its definition.
func (s *managementServer) GetAgentVersion(ctx context.Context, r *agentv1.GetAgentVersionRequest) (*agentv1.GetAgentVersionResponse, error) {
	version, err := s.agents.Version(ctx, r.GetInstance(), r.GetId(), r.GetVersion())
	if err != nil {
		return nil, err
	}
	return &agentv1.GetAgentVersionResponse{AgentVersion: version}, nil
}

// RollbackAgent publishes the definition of an earlier version again.
func (s *managementServer) RollbackAgent(ctx context.Context, r *agentv1.RollbackAgentRequest) (*agentv1.RollbackAgentResponse, error) {
	agent, err := s.agents.Rollback(ctx, r.GetInstance(), r.GetId(), r.GetVersion())
	if err != nil {
		return nil, err
	}
	return &agentv1.RollbackAgentResponse{Agent: agent}, nil
}

// TestAgent runs one turn of which nothing is stored.
func (s *managementServer) TestAgent(ctx context.Context, r *agentv1.TestAgentRequest) (*agentv1.TestAgentResponse, error) {
	return s.dry.Run(ctx, r)
}

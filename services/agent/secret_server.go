package agent

import (
	"context"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/secret"
)

// secretServer is SecretService.
type secretServer struct {
	agentv1.UnimplementedSecretServiceServer
	vault     *secret.Vault
	instances Instances
}

// SetSecret makes a secret, or gives it a new value.
func (s *secretServer) SetSecret(ctx context.Context, r *agentv1.SetSecretRequest) (*agentv1.SetSecretResponse, error) {
	if err := instanceExists(ctx, s.instances, r.GetInstance()); err != nil {
		return nil, err
	}
	stored, err := s.vault.Set(ctx, r.GetInstance(), r.GetName(), r.GetValue())
	if err != nil {
		return nil, err
	}
	return &agentv1.SetSecretResponse{Secret: stored}, nil
}

// ListSecrets gives the secrets of an instance in the order of their names.
func (s *secretServer) ListSecrets(ctx context.Context, r *agentv1.ListSecretsRequest) (*agentv1.ListSecretsResponse, error) {
	if err := instanceExists(ctx, s.instances, r.GetInstance()); err != nil {
		return nil, err
	}
	secrets, next, err := s.vault.List(ctx, r.GetInstance(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &agentv1.ListSecretsResponse{Secrets: secrets, NextPageToken: next}, nil
}

// DeleteSecret forgets a secret.
func (s *secretServer) DeleteSecret(ctx context.Context, r *agentv1.DeleteSecretRequest) (*agentv1.DeleteSecretResponse, error) {
	if err := s.vault.Delete(ctx, r.GetInstance(), r.GetName()); err != nil {
		return nil, err
	}
	return &agentv1.DeleteSecretResponse{}, nil
}

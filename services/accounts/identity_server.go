package accounts

import (
	"context"
	"errors"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// identityServer is IdentityService.
type identityServer struct {
	accountsv1.UnimplementedIdentityServiceServer
	verifier  *keyVerifier
	instances *instances
	metrics   *metrics
}

// VerifyKey says whose key this is.
func (s *identityServer) VerifyKey(ctx context.Context, r *accountsv1.VerifyKeyRequest) (*accountsv1.VerifyKeyResponse, error) {
	who, err := s.verifier.verify(ctx, r.GetKey())
	switch {
	case errors.Is(err, errKeyInvalid):
		s.metrics.verifications.WithLabelValues(resultRefused).Inc()
		return nil, err
	case err != nil:
		s.metrics.verifications.WithLabelValues(resultError).Inc()
		return nil, rpcerr.FromStore(err)
	case who.root:
		s.metrics.verifications.WithLabelValues(resultRoot).Inc()
		return &accountsv1.VerifyKeyResponse{Root: true}, nil
	}
	s.metrics.verifications.WithLabelValues(resultKey).Inc()
	return &accountsv1.VerifyKeyResponse{
		Instance:   who.key.Instance,
		KeyId:      who.key.ID,
		Scopes:     who.key.Scopes,
		ExpireTime: timestamp(who.key.ExpireTime),
	}, nil
}

// LookupInstance gives an instance by its slug.
func (s *identityServer) LookupInstance(ctx context.Context, r *accountsv1.LookupInstanceRequest) (*accountsv1.LookupInstanceResponse, error) {
	i, err := s.instances.get(ctx, r.GetInstance())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &accountsv1.LookupInstanceResponse{Instance: instanceMessage(i)}, nil
}

package accounts

import (
	"context"

	"google.golang.org/protobuf/proto"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// everywhere stands for the instance where something belongs to none: the list of instances, and the record that makes one.
const everywhere = ""

// The scopes of page tokens: the methods. These lists have no filters.
const (
	scopeInstances = "prosa.accounts.v1.AccountsService/ListInstances"
	scopeKeys      = "prosa.accounts.v1.AccountsService/ListApiKeys"
)

// managementServer is AccountsService.
type managementServer struct {
	accountsv1.UnimplementedAccountsServiceServer
	instances *instances
	keys      *keys
	pages     *pagetoken.Codec
}

// CheckRequest makes it a grpcserver.Checker: what the contract's rules cannot see is named with all else.
func (s *managementServer) CheckRequest(_ context.Context, request any) []rpcerr.Violation {
	switch r := request.(type) {
	case *accountsv1.CreateInstanceRequest:
		return newInstanceFaults(instanceFromMessage(r.GetInstance()))
	case *accountsv1.UpdateInstanceRequest:
		_, faults := instanceUpdate(r.GetSlug(), r.GetInstance(), r.GetUpdateMask())
		return faults
	case *accountsv1.CreateApiKeyRequest:
		return newKeyFaults(keyFromMessage(r.GetInstance(), r.GetApiKey()), s.keys.clock.Now())
	}
	return nil
}

// CreateInstance makes a tenant.
func (s *managementServer) CreateInstance(ctx context.Context, r *accountsv1.CreateInstanceRequest) (*accountsv1.CreateInstanceResponse, error) {
	once, err := idempotency.OfRequest(ctx, everywhere, accountsv1.AccountsService_CreateInstance_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	kept, err := s.instances.create(ctx, once, instanceFromMessage(r.GetInstance()), func(i store.Instance) ([]byte, error) {
		return proto.Marshal(&accountsv1.CreateInstanceResponse{Instance: instanceMessage(i)})
	})
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return decodeResponse(kept, &accountsv1.CreateInstanceResponse{})
}

// ListInstances gives the instances by slug.
func (s *managementServer) ListInstances(ctx context.Context, r *accountsv1.ListInstancesRequest) (*accountsv1.ListInstancesResponse, error) {
	after := ""
	if r.GetPageToken() != "" {
		payload, err := s.pages.Decode(r.GetPageToken(), everywhere, scopeInstances)
		if err != nil {
			return nil, rpcerr.Invalid(pagetoken.Violation("pageToken", err))
		}
		after = string(payload)
	}
	page, more, err := s.instances.list(ctx, after, pagetoken.Size(r.GetPageSize()))
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &accountsv1.ListInstancesResponse{Instances: make([]*accountsv1.Instance, len(page))}
	for n, i := range page {
		response.Instances[n] = instanceMessage(i)
	}
	if more {
		response.NextPageToken = s.pages.Encode(everywhere, scopeInstances, []byte(page[len(page)-1].Slug))
	}
	return response, nil
}

// GetInstance gives one instance.
func (s *managementServer) GetInstance(ctx context.Context, r *accountsv1.GetInstanceRequest) (*accountsv1.GetInstanceResponse, error) {
	i, err := s.instances.get(ctx, r.GetInstance())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &accountsv1.GetInstanceResponse{Instance: instanceMessage(i)}, nil
}

// UpdateInstance changes the fields named by the mask.
func (s *managementServer) UpdateInstance(ctx context.Context, r *accountsv1.UpdateInstanceRequest) (*accountsv1.UpdateInstanceResponse, error) {
	i, err := s.instances.update(ctx, r.GetSlug(), r.GetInstance(), r.GetUpdateMask())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &accountsv1.UpdateInstanceResponse{Instance: instanceMessage(i)}, nil
}

// CreateApiKey makes a key; the answer alone carries it.
//
//nolint:revive // generated from the contract
func (s *managementServer) CreateApiKey(ctx context.Context, r *accountsv1.CreateApiKeyRequest) (*accountsv1.CreateApiKeyResponse, error) {
	once, err := idempotency.OfRequest(ctx, r.GetInstance(), accountsv1.AccountsService_CreateApiKey_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	k := keyFromMessage(r.GetInstance(), r.GetApiKey())
	kept, err := s.keys.create(ctx, once, k, func(k store.APIKey, revealed string) ([]byte, error) {
		message := keyMessage(k)
		message.Key = revealed
		return proto.Marshal(&accountsv1.CreateApiKeyResponse{ApiKey: message})
	})
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return decodeResponse(kept, &accountsv1.CreateApiKeyResponse{})
}

// ListApiKeys gives the keys of an instance, oldest first.
//
//nolint:revive // generated from the contract
func (s *managementServer) ListApiKeys(ctx context.Context, r *accountsv1.ListApiKeysRequest) (*accountsv1.ListApiKeysResponse, error) {
	after, err := s.pages.DecodePlace(r.GetPageToken(), r.GetInstance(), scopeKeys)
	if err != nil {
		return nil, rpcerr.Invalid(pagetoken.Violation("pageToken", err))
	}
	page, more, err := s.keys.list(ctx, r.GetInstance(), after, pagetoken.Size(r.GetPageSize()))
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &accountsv1.ListApiKeysResponse{ApiKeys: make([]*accountsv1.ApiKey, len(page))}
	for n, k := range page {
		response.ApiKeys[n] = keyMessage(k)
	}
	if more {
		last := page[len(page)-1]
		response.NextPageToken = s.pages.EncodePlace(r.GetInstance(), scopeKeys, pagetoken.Place{Time: last.CreateTime, ID: last.ID})
	}
	return response, nil
}

// GetApiKey gives one key without the key itself.
//
//nolint:revive // generated from the contract
func (s *managementServer) GetApiKey(ctx context.Context, r *accountsv1.GetApiKeyRequest) (*accountsv1.GetApiKeyResponse, error) {
	k, err := s.keys.get(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &accountsv1.GetApiKeyResponse{ApiKey: keyMessage(k)}, nil
}

// DeleteApiKey ends a key.
//
//nolint:revive // generated from the contract
func (s *managementServer) DeleteApiKey(ctx context.Context, r *accountsv1.DeleteApiKeyRequest) (*accountsv1.DeleteApiKeyResponse, error) {
	if err := s.keys.delete(ctx, r.GetInstance(), r.GetId()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &accountsv1.DeleteApiKeyResponse{}, nil
}

// decodeResponse reads the response that a create has kept.
func decodeResponse[M proto.Message](kept []byte, into M) (M, error) {
	if err := proto.Unmarshal(kept, into); err != nil {
		var none M
		return none, rpcerr.Internal(err)
	}
	return into, nil
}

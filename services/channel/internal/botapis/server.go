// Package botapis manages the integrations of the Bot API: what they are is for
// their owners to say, what they must not be is checked here.
package botapis

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/agents"
	"github.com/prosa-chat/prosa/services/channel/internal/answers"
	"github.com/prosa-chat/prosa/services/channel/internal/channels"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/inbound"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// Deps are what the server works with.
type Deps struct {
	Store     *store.Store
	Directory *directory.Directory
	// Tokens hashes the integrations' tokens.
	Tokens     inbound.Tokens
	Agents     agentv1.TurnServiceClient
	Instances  channels.Instances
	Guard      *egress.Guard
	Box        *secretbox.Box
	PageTokens *pagetoken.Codec
	Clock      clock.Clock
	IDs        *id.Source
	// Answers keeps answers that show a secret.
	Answers answers.Keeper
	// Due is called after lanes of an integration were made due.
	Due func(store.Endpoint)
	// Deleted is called after an integration was deleted, so that its work is cancelled soon.
	Deleted func()
}

// Server implements the BotApiService.
type Server struct {
	channelv1.UnimplementedBotApiServiceServer
	Deps
}

// New returns a server.
func New(deps Deps) *Server { return &Server{Deps: deps} }

// GetBotApi implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) GetBotApi(ctx context.Context, r *channelv1.GetBotApiRequest) (*channelv1.GetBotApiResponse, error) {
	row, err := s.Store.BotAPI(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	return &channelv1.GetBotApiResponse{BotApi: resource(row)}, nil
}

// UpdateBotApi implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) UpdateBotApi(ctx context.Context, r *channelv1.UpdateBotApiRequest) (*channelv1.UpdateBotApiResponse, error) {
	change, err := changes(r.GetBotApi(), r.GetUpdateMask(), func(token string) ([]byte, error) {
		return s.Box.Seal([]byte(token), directory.CallbackTokenContext(r.GetInstance(), r.GetId()))
	})
	if err != nil {
		return nil, err
	}
	// Whether it is the caller's comes before what the new values are worth.
	if _, err := s.Store.BotAPI(ctx, r.GetInstance(), r.GetId()); err != nil {
		return nil, outward(err, r.GetId())
	}
	if change.CallbackURL != nil {
		if err := s.checkURL(*change.CallbackURL); err != nil {
			return nil, err
		}
	}
	if change.AgentID != nil {
		if err := agents.Check(ctx, s.Agents, r.GetInstance(), *change.AgentID); err != nil {
			return nil, err
		}
	}
	row, err := s.Store.UpdateBotAPI(ctx, r.GetInstance(), r.GetId(), change, s.Clock.Now())
	s.Directory.Forget(r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	if change.CallbackURL != nil && row.State == store.Active {
		// What the old callback made wait need not wait for the new one.
		if err := s.due(ctx, row); err != nil {
			return nil, outward(err, r.GetId())
		}
	}
	return &channelv1.UpdateBotApiResponse{BotApi: resource(row)}, nil
}

// DeleteBotApi implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) DeleteBotApi(ctx context.Context, r *channelv1.DeleteBotApiRequest) (*channelv1.DeleteBotApiResponse, error) {
	err := s.Store.DeleteBotAPI(ctx, r.GetInstance(), r.GetId(), s.Clock.Now())
	s.Directory.Forget(r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	s.Deleted()
	return &channelv1.DeleteBotApiResponse{}, nil
}

// checkURL refuses a callback that must not be called. None is no callback.
func (s *Server) checkURL(target string) error {
	if target == "" {
		return nil
	}
	err := s.Guard.CheckURL(target)
	var refused *egress.Refused
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return rpcerr.New(codes.InvalidArgument, channelv1.ErrorReason_ERROR_REASON_CALLBACK_URL_REFUSED,
			"the callback URL is not one that may be called", "cause", string(refused.Reason)).
			WithViolations(rpcerr.Violation{Field: "botApi.callbackUrl", Reason: refused.Error()})
	default:
		return rpcerr.Internal(err)
	}
}

// errIncomplete refuses one of URL and token without the other. Both are named:
// which of them is the mistake only the caller knows.
var errIncomplete = rpcerr.New(codes.InvalidArgument, channelv1.ErrorReason_ERROR_REASON_CALLBACK_INCOMPLETE,
	"callback URL and callback token are given together, or neither").WithViolations(
	rpcerr.Violation{Field: "botApi.callbackUrl", Reason: "goes together with callbackToken"},
	rpcerr.Violation{Field: "botApi.callbackToken", Reason: "goes together with callbackUrl"},
)

// outward makes of a store's error one for the caller.
func outward(err error, id string) error {
	switch {
	case errors.Is(err, store.ErrBotAPINotFound):
		return inbound.BotAPINotFound(id)
	case errors.Is(err, store.ErrCallbackIncomplete):
		return errIncomplete
	}
	return rpcerr.FromStore(err)
}

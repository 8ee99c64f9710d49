// Package channels manages channels: what they are is for their owners to say,
// what they must not be is checked here.
package channels

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/agents"
	"github.com/prosa-chat/prosa/services/channel/internal/answers"
	"github.com/prosa-chat/prosa/services/channel/internal/check"
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

// Instances says which instances there are.
type Instances interface {
	// Get returns the instance, or INSTANCE_NOT_FOUND.
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// Deps are what the server works with.
type Deps struct {
	Store      *store.Store
	Directory  *directory.Directory
	Tokens     inbound.Tokens
	Agents     agentv1.TurnServiceClient
	Instances  Instances
	Guard      *egress.Guard
	Box        *secretbox.Box
	PageTokens *pagetoken.Codec
	Clock      clock.Clock
	IDs        *id.Source
	// Checker tries webhooks out.
	Checker *check.Checker
	// Answers keeps answers that show a secret.
	Answers answers.Keeper
	// Due is called after lanes of a channel were made due.
	Due func(store.Endpoint)
	// Deleted is called after a channel was deleted, so that its work is cancelled soon.
	Deleted func()
}

// Server implements the ChannelService.
type Server struct {
	channelv1.UnimplementedChannelServiceServer
	Deps
}

// New returns a server.
func New(deps Deps) *Server { return &Server{Deps: deps} }

// GetChannel implements the ChannelService.
func (s *Server) GetChannel(ctx context.Context, r *channelv1.GetChannelRequest) (*channelv1.GetChannelResponse, error) {
	channel, err := s.Store.Channel(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	return &channelv1.GetChannelResponse{Channel: resource(channel)}, nil
}

// UpdateChannel implements the ChannelService.
func (s *Server) UpdateChannel(ctx context.Context, r *channelv1.UpdateChannelRequest) (*channelv1.UpdateChannelResponse, error) {
	// Whether the channel is the caller's comes before what the new values are worth.
	current, err := s.Store.Channel(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	change, err := changes(current.Test, r.GetChannel(), r.GetUpdateMask(), func(token string) []byte {
		return s.Tokens.Hash(r.GetInstance(), r.GetId(), token)
	})
	if err != nil {
		return nil, err
	}
	if change.WebhookURL != nil {
		if err := s.checkURL(*change.WebhookURL); err != nil {
			return nil, err
		}
	}
	if change.AgentID != nil {
		if err := agents.Check(ctx, s.Agents, r.GetInstance(), *change.AgentID); err != nil {
			return nil, err
		}
	}
	channel, err := s.Store.UpdateChannel(ctx, r.GetInstance(), r.GetId(), change, s.Clock.Now())
	s.Directory.Forget(r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	if change.WebhookURL != nil && channel.State == store.Active {
		// What the old webhook made wait need not wait for the new one.
		if err := s.due(ctx, channel); err != nil {
			return nil, outward(err, r.GetId())
		}
	}
	return &channelv1.UpdateChannelResponse{Channel: resource(channel)}, nil
}

// DeleteChannel implements the ChannelService.
func (s *Server) DeleteChannel(ctx context.Context, r *channelv1.DeleteChannelRequest) (*channelv1.DeleteChannelResponse, error) {
	err := s.Store.DeleteChannel(ctx, r.GetInstance(), r.GetId(), s.Clock.Now())
	s.Directory.Forget(r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	s.Deleted()
	return &channelv1.DeleteChannelResponse{}, nil
}

// checkURL refuses a target that must not be called.
func (s *Server) checkURL(target string) error {
	err := s.Guard.CheckURL(target)
	var refused *egress.Refused
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return rpcerr.New(codes.InvalidArgument, channelv1.ErrorReason_ERROR_REASON_WEBHOOK_URL_REFUSED,
			"the webhook URL is not one that may be called", "cause", string(refused.Reason)).
			WithViolations(rpcerr.Violation{Field: "channel.webhookUrl", Reason: refused.Error()})
	default:
		return rpcerr.Internal(err)
	}
}

// outward makes of a store's error one for the caller.
func outward(err error, id string) error {
	if errors.Is(err, store.ErrChannelNotFound) {
		return inbound.NotFound(id)
	}
	return rpcerr.FromStore(err)
}

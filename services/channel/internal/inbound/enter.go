package inbound

import (
	"context"
	"errors"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// enter finds the channel, if the caller may send to it now. Errors:
// CHANNEL_NOT_FOUND, INBOUND_TOKEN_INVALID, RATE_LIMITED, those of the store.
func (s *Server) enter(ctx context.Context, channelID string) (*store.Channel, error) {
	if !s.Directory.Knows(channelID) {
		if err := s.Gate.Unknown(ctx); err != nil {
			return nil, err
		}
	}
	channel, err := s.Directory.Get(ctx, channelID)
	if errors.Is(err, store.ErrChannelNotFound) {
		s.Gate.NotFound(ctx)
		return nil, NotFound(channelID)
	}
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if channel.InboundTokenHash != nil {
		if err := s.Gate.Guess(ctx, channel.ID); err != nil {
			return nil, err
		}
		if !s.Tokens.Fits(channel.Instance, channel.ID, auth.BearerToken(ctx), channel.InboundTokenHash) {
			s.Gate.Misfit(ctx, channel.ID)
			return nil, errToken
		}
	}
	return channel, s.Gate.Enter(channel.ID)
}

package channels

import (
	"context"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// PauseChannel implements the ChannelService.
func (s *Server) PauseChannel(ctx context.Context, r *channelv1.PauseChannelRequest) (*channelv1.PauseChannelResponse, error) {
	channel, err := s.Store.Move(ctx, r.GetInstance(), r.GetId(), store.Paused, s.Clock.Now())
	s.Directory.Forget(r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	return &channelv1.PauseChannelResponse{Channel: resource(channel)}, nil
}

// ResumeChannel implements the ChannelService.
func (s *Server) ResumeChannel(ctx context.Context, r *channelv1.ResumeChannelRequest) (*channelv1.ResumeChannelResponse, error) {
	channel, err := s.Store.Move(ctx, r.GetInstance(), r.GetId(), store.Active, s.Clock.Now())
	s.Directory.Forget(r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	for done := false; !done; {
		if done, err = s.Store.Unpark(ctx, store.Endpoint{Instance: channel.Instance, ID: channel.ID}, s.Clock.Now()); err != nil {
			return nil, outward(err, r.GetId())
		}
	}
	if err := s.due(ctx, channel); err != nil {
		return nil, outward(err, r.GetId())
	}
	return &channelv1.ResumeChannelResponse{Channel: resource(channel)}, nil
}

// due has everything that waits for an active channel's webhook attempted now.
// If it fails halfway the call can be made again.
func (s *Server) due(ctx context.Context, c *store.Channel) error {
	lanes := store.Endpoint{Instance: c.Instance, ID: c.ID}
	for done := false; !done; {
		var err error
		if done, err = s.Store.Due(ctx, lanes, s.Clock.Now()); err != nil {
			return err
		}
	}
	s.Due(lanes)
	return nil
}

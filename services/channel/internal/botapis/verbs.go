package botapis

import (
	"context"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// PauseBotApi implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) PauseBotApi(ctx context.Context, r *channelv1.PauseBotApiRequest) (*channelv1.PauseBotApiResponse, error) {
	row, err := s.Store.MoveBotAPI(ctx, r.GetInstance(), r.GetId(), store.Paused, s.Clock.Now())
	s.Directory.Forget(r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	return &channelv1.PauseBotApiResponse{BotApi: resource(row)}, nil
}

// ResumeBotApi implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) ResumeBotApi(ctx context.Context, r *channelv1.ResumeBotApiRequest) (*channelv1.ResumeBotApiResponse, error) {
	row, err := s.Store.MoveBotAPI(ctx, r.GetInstance(), r.GetId(), store.Active, s.Clock.Now())
	s.Directory.Forget(r.GetId())
	if err != nil {
		return nil, outward(err, r.GetId())
	}
	if err := s.due(ctx, row); err != nil {
		return nil, outward(err, r.GetId())
	}
	return &channelv1.ResumeBotApiResponse{BotApi: resource(row)}, nil
}

// due has everything that waits for an active integration's callback attempted
// now. If it fails halfway the call can be made again.
func (s *Server) due(ctx context.Context, b *store.BotAPI) error {
	lanes := store.Endpoint{Instance: b.Instance, ID: b.ID}
	for done := false; !done; {
		var err error
		if done, err = s.Store.Due(ctx, lanes, s.Clock.Now()); err != nil {
			return err
		}
	}
	s.Due(lanes)
	return nil
}

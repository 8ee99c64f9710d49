package channels

import (
	"context"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const listScope = "ListChannels"

// ListChannels implements the ChannelService.
func (s *Server) ListChannels(ctx context.Context, r *channelv1.ListChannelsRequest) (*channelv1.ListChannelsResponse, error) {
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	after, err := s.PageTokens.DecodePlace(r.GetPageToken(), r.GetInstance(), listScope)
	if err != nil {
		return nil, rpcerr.Invalid(pagetoken.Violation("pageToken", err))
	}
	size := pagetoken.Size(r.GetPageSize())
	// One more than asked for tells whether there is another page.
	rows, err := s.Store.ListChannels(ctx, r.GetInstance(), after.Time, after.ID, size+1)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &channelv1.ListChannelsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		last := rows[size-1]
		response.NextPageToken = s.PageTokens.EncodePlace(r.GetInstance(), listScope, pagetoken.Place{Time: last.CreateTime, ID: last.ID})
	}
	response.Channels = make([]*channelv1.Channel, len(rows))
	for i, row := range rows {
		response.Channels[i] = resource(row)
	}
	return response, nil
}

package channels

import (
	"context"
	"encoding/binary"
	"time"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	defaultPageSize = 50
	maxPageSize     = 500
	listScope       = "ListChannels"
)

// ListChannels implements the ChannelService.
func (s *Server) ListChannels(ctx context.Context, r *channelv1.ListChannelsRequest) (*channelv1.ListChannelsResponse, error) {
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	var (
		afterTime time.Time
		afterID   string
	)
	if token := r.GetPageToken(); token != "" {
		payload, err := s.PageTokens.Decode(token, r.GetInstance(), listScope)
		if err != nil || len(payload) < 8 {
			return nil, rpcerr.Invalid(rpcerr.Violation{Field: "pageToken", Reason: "is not a token of this list, or has expired"})
		}
		afterTime, afterID = sqldb.Time(int64(binary.BigEndian.Uint64(payload))), string(payload[8:])
	}
	size := int(r.GetPageSize())
	if size <= 0 {
		size = defaultPageSize
	}
	size = min(size, maxPageSize)
	// One more than asked for tells whether there is another page.
	rows, err := s.Store.ListChannels(ctx, r.GetInstance(), afterTime, afterID, size+1)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &channelv1.ListChannelsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		last := rows[size-1]
		payload := append(binary.BigEndian.AppendUint64(nil, uint64(sqldb.Micros(last.CreateTime))), last.ID...)
		response.NextPageToken = s.PageTokens.Encode(r.GetInstance(), listScope, payload)
	}
	response.Channels = make([]*channelv1.Channel, len(rows))
	for i, row := range rows {
		response.Channels[i] = resource(row)
	}
	return response, nil
}

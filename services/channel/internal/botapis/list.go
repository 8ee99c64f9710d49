package botapis

import (
	"context"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const listScope = "ListBotApis"

// ListBotApis implements the BotApiService.
//
//nolint:revive // generated from the contract
func (s *Server) ListBotApis(ctx context.Context, r *channelv1.ListBotApisRequest) (*channelv1.ListBotApisResponse, error) {
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	after, err := s.PageTokens.DecodePlace(r.GetPageToken(), r.GetInstance(), listScope)
	if err != nil {
		return nil, rpcerr.Invalid(pagetoken.Violation("pageToken", err))
	}
	size := pagetoken.Size(r.GetPageSize())
	// One more than asked for tells whether there is another page.
	rows, err := s.Store.ListBotAPIs(ctx, r.GetInstance(), after.Time, after.ID, size+1)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &channelv1.ListBotApisResponse{}
	if len(rows) > size {
		rows = rows[:size]
		last := rows[size-1]
		response.NextPageToken = s.PageTokens.EncodePlace(r.GetInstance(), listScope, pagetoken.Place{Time: last.CreateTime, ID: last.ID})
	}
	response.BotApis = make([]*channelv1.BotApi, len(rows))
	for i, row := range rows {
		response.BotApis[i] = resource(row)
	}
	return response, nil
}

package person

import (
	"context"
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const listScope = "ListErasures"

// lastPosition is before all erasures, the newest of which come first.
var lastPosition = erasure.Position{Cut: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}

// ListErasures implements the PersonService.
func (s *Server) ListErasures(ctx context.Context, r *channelv1.ListErasuresRequest) (*channelv1.ListErasuresResponse, error) {
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	before, err := s.position(r.GetPageToken(), r.GetInstance())
	if err != nil {
		return nil, rpcerr.Invalid(pagetoken.Violation("pageToken", err))
	}
	size := pagetoken.Size(r.GetPageSize())
	page, err := s.Store.Erasures(ctx, r.GetInstance(), before, size+1)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &channelv1.ListErasuresResponse{}
	for i, record := range page {
		if i == size {
			last := page[size-1]
			payload := binary.BigEndian.AppendUint64(nil, uint64(sqldb.Micros(last.Cut)))
			response.NextPageToken = s.PageTokens.Encode(r.GetInstance(), listScope, append(payload, last.Person...))
			break
		}
		response.Erasures = append(response.Erasures, &channelv1.Erasure{
			Person: record.Person, EraseTime: timestamppb.New(record.Cut), Counts: record.Counts,
		})
	}
	return response, nil
}

// position reads the place in a page token.
func (s *Server) position(token, instance string) (erasure.Position, error) {
	if token == "" {
		return lastPosition, nil
	}
	payload, err := s.PageTokens.Decode(token, instance, listScope)
	if err != nil {
		return erasure.Position{}, err
	}
	if len(payload) < 8 {
		return erasure.Position{}, pagetoken.ErrInvalid
	}
	return erasure.Position{Cut: sqldb.Time(int64(binary.BigEndian.Uint64(payload))), Person: string(payload[8:])}, nil
}

package outbox

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// replayFor is how long one call goes on, replayMargin how much of the
	// caller's deadline it leaves for the answer.
	replayFor    = 20 * time.Second
	replayMargin = 2 * time.Second
	// beforeAll sorts before every id.
	beforeAll = "000000000000000000000000"
)

// ReplayDeliveries implements the DeliveryService.
func (s *Server) ReplayDeliveries(ctx context.Context, r *channelv1.ReplayDeliveriesRequest) (*channelv1.ReplayDeliveriesResponse, error) {
	filters := proto.CloneOf(r)
	filters.PageToken = ""
	scope, err := scopeOf("ReplayDeliveries", filters)
	if err != nil {
		return nil, err
	}
	began := s.Clock.Now()
	// What is made meanwhile is not meant: the walk would never end where
	// messages come all the time.
	progress := progress{after: beforeAll, until: began.Add(time.Microsecond)}
	if r.GetPageToken() != "" {
		if progress, err = s.progress(r.GetPageToken(), r.GetInstance(), scope); err != nil {
			return nil, rpcerr.Invalid(pagetoken.Violation("pageToken", err))
		}
	}
	replay := store.Replay{
		Endpoint: store.Endpoint{Instance: r.GetInstance(), ID: r.GetEndpointId()}, States: states(r.GetStates()),
		Start: moment(r.GetStartTime()), End: moment(r.GetEndTime()),
	}
	if len(replay.States) == 0 {
		replay.States = []store.DeliveryState{store.Dead}
	}
	if replay.End.IsZero() || replay.End.After(progress.until) {
		replay.End = progress.until
	}
	exists, err := s.Store.EndpointExists(ctx, replay.Endpoint)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if !exists {
		return nil, endpointNotFound(r.GetEndpointId())
	}
	response := &channelv1.ReplayDeliveriesResponse{}
	for !s.late(ctx, began) {
		batch, err := s.Store.Replay(ctx, replay, progress.after, s.Clock.Now())
		if errors.Is(err, store.ErrNotRetryable) { // it was deleted at this moment
			return nil, endpointNotFound(r.GetEndpointId())
		}
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		if batch.Count > 0 {
			if response.Count == 0 {
				s.Resumed(replay.Endpoint)
			}
			response.Count += int32(batch.Count)
			s.requeued.Add(float64(batch.Count))
			s.Again()
		}
		if batch.Done {
			return response, nil
		}
		progress.after = batch.Last
	}
	response.NextPageToken = s.PageTokens.Encode(r.GetInstance(), scope, progress.encode())
	return response, nil
}

// late reports whether it is time to answer.
func (s *Server) late(ctx context.Context, began time.Time) bool {
	now := s.Clock.Now()
	deadline, bounded := ctx.Deadline()
	return now.Sub(began) >= replayFor || bounded && deadline.Sub(now) < replayMargin
}

// progress is how far a replay came: behind the delivery with an id. What was
// made at until, or later, came after its beginning and is not meant.
type progress struct {
	after string
	until time.Time
}

func (p progress) encode() []byte {
	return append([]byte(p.after), p.until.Format(time.RFC3339Nano)...)
}

func (s *Server) progress(token, instance, scope string) (progress, error) {
	payload, err := s.PageTokens.Decode(token, instance, scope)
	if err != nil {
		return progress{}, err
	}
	if len(payload) < id.Length {
		return progress{}, pagetoken.ErrInvalid
	}
	until, err := time.Parse(time.RFC3339Nano, string(payload[id.Length:]))
	if err != nil {
		return progress{}, pagetoken.ErrInvalid
	}
	return progress{after: string(payload[:id.Length]), until: until}, nil
}

package outbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// ListDeliveries implements the DeliveryService.
func (s *Server) ListDeliveries(ctx context.Context, r *channelv1.ListDeliveriesRequest) (*channelv1.ListDeliveriesResponse, error) {
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	filters := proto.CloneOf(r)
	filters.PageSize, filters.PageToken = 0, ""
	scope, err := scopeOf("ListDeliveries", filters)
	if err != nil {
		return nil, err
	}
	after, err := s.place(r.GetPageToken(), r.GetInstance(), scope)
	if err != nil {
		return nil, rpcerr.Invalid(pagetoken.Violation("pageToken", err))
	}
	page, err := s.Store.ListDeliveries(ctx, store.DeliveryFilter{
		Instance: r.GetInstance(), EndpointID: r.GetEndpointId(), ContactID: r.GetContactId(), InteractionID: r.GetInteractionId(),
		Sequence: int64(r.GetSequence()), States: states(r.GetState()), Start: moment(r.GetStartTime()), End: moment(r.GetEndTime()),
	}, after, pagetoken.Size(r.GetPageSize()))
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	response := &channelv1.ListDeliveriesResponse{Deliveries: make([]*channelv1.Delivery, len(page.Deliveries))}
	for i := range page.Deliveries {
		if response.Deliveries[i], err = Resource(&page.Deliveries[i]); err != nil {
			return nil, err
		}
	}
	if page.Next != nil {
		response.NextPageToken = s.PageTokens.Encode(r.GetInstance(), scope, encodePlace(page.Next))
	}
	return response, nil
}

// scopeOf is a method with its filters, in a canonical form.
func scopeOf(method string, filters proto.Message) (string, error) {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(filters)
	if err != nil {
		return "", rpcerr.Internal(fmt.Errorf("write filters of %s: %w", method, err))
	}
	return method + "?" + string(text), nil
}

// place reads the token of a page, nil for none.
func (s *Server) place(token, instance, scope string) (*store.DeliveryPlace, error) {
	if token == "" {
		return nil, nil
	}
	payload, err := s.PageTokens.Decode(token, instance, scope)
	if err != nil {
		return nil, err
	}
	if len(payload) < 8 {
		return nil, pagetoken.ErrInvalid
	}
	sequence, name := int64(binary.BigEndian.Uint64(payload)), string(payload[8:])
	if sequence == 0 {
		return &store.DeliveryPlace{ID: name}, nil
	}
	id, endpoint, ok := strings.Cut(name, "/")
	if !ok {
		return nil, pagetoken.ErrInvalid
	}
	return &store.DeliveryPlace{ID: id, EndpointID: endpoint, Sequence: sequence}, nil
}

// encodePlace writes a place as its sequence, 0 for none, the id of the delivery,
// and that of the endpoint if there is a sequence.
func encodePlace(p *store.DeliveryPlace) []byte {
	text := binary.BigEndian.AppendUint64(nil, uint64(p.Sequence))
	text = append(text, p.ID...)
	if p.Sequence == 0 {
		return text
	}
	return append(append(text, '/'), p.EndpointID...)
}

func states(asked []channelv1.Delivery_State) []store.DeliveryState {
	if len(asked) == 0 {
		return nil
	}
	all := make([]store.DeliveryState, len(asked))
	for i, state := range asked {
		all[i] = store.DeliveryState(state.String())
	}
	return all
}

// moment is the time of a filter, the zero time if it is not set.
func moment(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

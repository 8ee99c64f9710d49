// Package outbox shows deliveries with what came of every attempt, and has them
// sent again.
package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/inbound"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Instances says which instances there are.
type Instances interface {
	// Get returns the instance, or INSTANCE_NOT_FOUND.
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// Store is the part of the store that the server needs.
type Store interface {
	Delivery(ctx context.Context, instance, id string) (store.Listed, error)
	ListDeliveries(ctx context.Context, f store.DeliveryFilter, after *store.DeliveryPlace, size int) (store.DeliveryPage, error)
	SendAgain(ctx context.Context, instance, id string, now time.Time) (again bool, err error)
	Replay(ctx context.Context, r store.Replay, after string, now time.Time) (store.Replayed, error)
	EndpointExists(ctx context.Context, e store.Endpoint) (bool, error)
}

// Deps are what the server works with.
type Deps struct {
	Store      Store
	Instances  Instances
	PageTokens *pagetoken.Codec
	Clock      clock.Clock
	// Count counts deliveries by state; see deliveries.NewCount.
	Count *prometheus.CounterVec
	// Resumed is called when somebody wants an endpoint tried, and lanes of it
	// may have become due; Again when something is to be sent again.
	Resumed func(e store.Endpoint)
	Again   func()
}

// Server implements the DeliveryService.
type Server struct {
	channelv1.UnimplementedDeliveryServiceServer
	Deps
	requeued prometheus.Counter
}

// New returns a server.
func New(deps Deps) *Server {
	return &Server{Deps: deps, requeued: deps.Count.WithLabelValues("requeued")}
}

// GetDelivery implements the DeliveryService.
func (s *Server) GetDelivery(ctx context.Context, r *channelv1.GetDeliveryRequest) (*channelv1.GetDeliveryResponse, error) {
	found, err := s.get(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, err
	}
	return &channelv1.GetDeliveryResponse{Delivery: found}, nil
}

func (s *Server) get(ctx context.Context, instance, id string) (*channelv1.Delivery, error) {
	found, err := s.Store.Delivery(ctx, instance, id)
	if errors.Is(err, store.ErrDeliveryNotFound) {
		return nil, notFound(id)
	}
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return Resource(&found)
}

// RetryDelivery implements the DeliveryService.
func (s *Server) RetryDelivery(ctx context.Context, r *channelv1.RetryDeliveryRequest) (*channelv1.RetryDeliveryResponse, error) {
	again, err := s.Store.SendAgain(ctx, r.GetInstance(), r.GetId(), s.Clock.Now())
	switch {
	case errors.Is(err, store.ErrDeliveryNotFound):
		return nil, notFound(r.GetId())
	case errors.Is(err, store.ErrNotRetryable):
		found, err := s.get(ctx, r.GetInstance(), r.GetId())
		if err != nil {
			return nil, err
		}
		return nil, rpcerr.New(codes.FailedPrecondition, channelv1.ErrorReason_ERROR_REASON_DELIVERY_NOT_RETRYABLE,
			"the delivery was cancelled, or its endpoint is deleted", "id", r.GetId(), "state", found.GetState().String())
	case err != nil:
		return nil, rpcerr.FromStore(err)
	}
	if again {
		s.requeued.Inc()
	}
	found, err := s.get(ctx, r.GetInstance(), r.GetId())
	if err != nil {
		return nil, err
	}
	s.Again()
	s.Resumed(store.Endpoint{Instance: r.GetInstance(), ID: found.GetEndpointId()})
	return &channelv1.RetryDeliveryResponse{Delivery: found}, nil
}

func notFound(id string) error {
	return rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_DELIVERY_NOT_FOUND, "no such delivery", "id", id)
}

func endpointNotFound(id string) error { return inbound.NotFound(id) }

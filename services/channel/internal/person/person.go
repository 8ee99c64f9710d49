// Package person serves the rights of a person over all services: everything
// that is kept about them as one document, and erasing it. What the agent and
// contacts keep is asked of the agent.
//
// Erasing goes where messages go: channel, agent, contacts, and then once more.
// What is on its way at that moment leaves nothing behind. A message that is not
// answered yet goes with its thread, so whoever holds the thread cannot store an
// answer; a turn that is being computed is refused by the agent, or by contacts,
// because its message was accepted before the cut; a message that comes in
// meanwhile is found by the second round, or refused by the agent as well, and
// dropped by whoever asked; a delivery that is under way loses its lease.
package person

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Store is the part of the store that is needed.
type Store interface {
	Endpoints(ctx context.Context, instance string) ([]string, error)
	PersonThreads(ctx context.Context, instance, identifier string, endpoints []string) ([]store.ThreadKey, error)
	PersonLanes(ctx context.Context, instance string, endpoints, interactions []string) ([]store.LaneKey, error)
	CountThread(ctx context.Context, key store.ThreadKey) (int64, error)
	CountLane(ctx context.Context, key store.LaneKey) (int64, error)
	Heard(ctx context.Context, key store.ThreadKey, after int64, limit int) ([]store.Heard, error)
	Deliveries(ctx context.Context, key store.LaneKey, after int64, limit int) ([]store.Delivery, error)
	EraseThread(ctx context.Context, key store.ThreadKey) (store.ErasedThread, error)
	EraseLane(ctx context.Context, key store.LaneKey) (deliveries, pending int64, err error)
	ForgetKeys(ctx context.Context, instance string, messages map[string]bool) error
	BeginErasure(ctx context.Context, r erasure.Record) error
	RaiseErasure(ctx context.Context, r erasure.Record, cut time.Time) error
	FinishErasure(ctx context.Context, r erasure.Record, now time.Time) error
	MissingErasures(ctx context.Context, records []erasure.Record) ([]erasure.Record, error)
	UnfinishedErasures(ctx context.Context) ([]erasure.Record, error)
	Erasures(ctx context.Context, instance string, before erasure.Position, limit int) ([]erasure.Record, error)
	Identifiers(ctx context.Context, instance, cursor string) (page []string, next string, err error)
	LanesOf(ctx context.Context, instance string, mine func(contactID string) bool) ([]store.OwnedLane, error)
}

// Instances says which instances there are.
type Instances interface {
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// Workers are told of what was erased, so that they break off work on it. They
// must not block.
type Workers struct {
	Turns        func(store.ThreadKey)
	Deliveries   func(store.LaneKey)
	Redeliveries func(store.LaneKey)
}

// Deps are what a Server works with. All are required, but Log.
type Deps struct {
	Store      Store
	Agent      agentv1.PersonServiceClient
	Instances  Instances
	Hasher     *erasure.Hasher
	Scrubber   *erasure.Scrubber
	PageTokens *pagetoken.Codec
	Clock      clock.Clock
	Logger     *slog.Logger
	Workers    Workers
	// Log keeps the erasures apart from the stores. Nil keeps them nowhere else.
	Log *erasure.Log
	// Messages and Deliveries count what was erased before it was answered, or
	// settled.
	Messages, Deliveries prometheus.Counter
}

// Server implements the PersonService, and restores erasures when it starts.
type Server struct {
	channelv1.UnimplementedPersonServiceServer
	Deps

	restoring sync.Mutex
	here      bool            // the erasures are restored in this service's store
	entries   []erasure.Entry // which those are

	mu       sync.Mutex
	restored bool // in all stores
}

// New returns a server.
func New(deps Deps) *Server { return &Server{Deps: deps} }

var (
	errNotFound = rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_CONTACT_NOT_FOUND, "nothing is kept about such a person")
	errTooLarge = rpcerr.New(codes.FailedPrecondition, channelv1.ErrorReason_ERROR_REASON_DOCUMENT_TOO_LARGE,
		"more is kept about the person than one document can hold")
)

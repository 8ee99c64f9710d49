// Package turns has each accepted message answered: it gives the oldest message
// of each thread to the agent and queues the answer as deliveries.
//
// A turn is repeated until its result is stored. The agent knows a message by
// its id and gives the same answer again, so nobody is answered twice.
package turns

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/lease"
	"github.com/prosa-chat/prosa/services/channel/internal/pool"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/channel/internal/tracing"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Store is the part of the store that the worker needs.
type Store interface {
	ReadyInstances(ctx context.Context, now time.Time) ([]string, error)
	ClaimThreads(ctx context.Context, claims []store.ThreadClaim, now, until time.Time) ([]store.Thread, error)
	Messages(ctx context.Context, key store.ThreadKey, after int64, limit int) ([]store.Message, error)
	FinishTurn(ctx context.Context, turn *store.Turn, now time.Time) (store.Finished, error)
	DropErased(ctx context.Context, key store.ThreadKey, epoch, seq int64) (bool, error)
	SetAside(ctx context.Context, key store.ThreadKey, epoch, seq int64, reason string) (bool, error)
	PostponeThread(ctx context.Context, key store.ThreadKey, epoch int64, next time.Time, strike bool) error
	ReleaseThread(ctx context.Context, key store.ThreadKey, epoch int64, now time.Time) error
	RenewThread(ctx context.Context, key store.ThreadKey, epoch int64, until time.Time) error
	CancelThreads(ctx context.Context, e store.Endpoint) (int64, bool, error)
}

// Deliveries is what becomes of answers.
type Deliveries interface {
	// Reserve takes a place for one more lane of the endpoint and returns the
	// end of the lease to ask for; false if there is none. A place must be
	// given back by Start or Unreserve.
	Reserve(endpoint store.Endpoint) (until time.Time, ok bool)
	Unreserve(endpoint store.Endpoint)
	// Queued says that a lane which could not be reserved has deliveries now.
	Queued(endpoint store.Endpoint)
	// Start delivers from a lane that was taken for the place.
	Start(lane store.Lane)
}

// Config bounds the worker. All fields are required.
type Config struct {
	// Pool is how many threads are worked on at once.
	Pool int
	// Lease is how long a thread stays taken after its process died.
	Lease time.Duration
	// Timeout bounds one call of the agent.
	Timeout time.Duration
	// Poll is how often the store is asked for due threads.
	Poll time.Duration
	// Grace is how long turns may go on after the soft stop.
	Grace time.Duration
}

// Deps are what the worker works with.
type Deps struct {
	Store      Store
	Agent      agentv1.TurnServiceClient
	Replies    agentv1.ReplyTurnServiceClient
	Directory  *directory.Directory
	Deliveries Deliveries
	Clock      clock.Clock
	IDs        *id.Source
	Rand       webhook.Rand
	Logger     *slog.Logger
	Metrics    prometheus.Registerer
	// Tracer makes a span of each try; nil makes none.
	Tracer *tracing.Tracer
	// Answered is told the answer to a message once it is on disk. It must not
	// block.
	Answered func(endpoint *directory.Endpoint, messageID string, answer *agentv1.RunTurnResponse)
	// Full is told that a thread of an instance is due for which this process
	// has no slot; another one may. It must not block.
	Full func(instance string)
	// Erased counts messages that were deleted unanswered because their person
	// was erased.
	Erased func(messages int64)
	// DeliveryCount counts deliveries by state, "queued" among them.
	DeliveryCount *prometheus.CounterVec
	// Recover runs before anything is claimed; see store.VoidLeases.
	Recover func(ctx context.Context) error
}

// Worker runs turns. It is a lifecycle.Worker.
type Worker struct {
	Deps
	config  Config
	pool    *pool.Pool
	keeper  *lease.Keeper[store.ThreadKey]
	wake    pool.Signal
	waiting pool.Waiting[string] // instances with threads that are due and found no slot
	first   int                  // which instance comes first in the next claim
	metrics *metrics
}

const (
	// claimBatch is how many threads one claim takes at most.
	claimBatch = 64
	// handBatch is how many messages of one thread are answered before others
	// get its slot.
	handBatch = 16
)

// New returns a worker that does nothing until Run.
func New(config Config, deps Deps) (*Worker, error) {
	w := &Worker{
		Deps:    deps,
		config:  config,
		pool:    pool.New(config.Pool, deps.Clock, config.Grace),
		keeper:  lease.NewKeeper(deps.Clock, config.Lease, deps.Store.RenewThread),
		wake:    pool.NewSignal(),
		metrics: newMetrics(deps.DeliveryCount),
	}
	return w, metric.Register(deps.Metrics, w.metrics.turns, w.metrics.running)
}

// Name implements lifecycle.Worker.
func (w *Worker) Name() string { return "channel-turns" }

// Run implements lifecycle.Worker.
func (w *Worker) Run(ctx context.Context) error {
	claimer := pool.Claimer{
		What: "turns", Pool: w.pool, Recover: w.Recover, Keep: w.keeper.Run, RunOnce: w.runOnce, Wake: w.wake, Poll: w.config.Poll,
		Clock: w.Clock, Logger: w.Logger,
	}
	return claimer.Run(ctx)
}

// runOnce starts work on threads that are due, as many as there are slots for.
// It reports whether more may be due for which there is a slot.
func (w *Worker) runOnce(ctx context.Context) (more bool, err error) {
	w.waiting.Look()
	now := w.Clock.Now()
	ready, err := w.Store.ReadyInstances(ctx, now)
	if err != nil {
		return false, err
	}
	if claims := w.reserve(ready); len(claims) > 0 {
		ready, err = w.claim(ctx, claims, ready, now)
	}
	w.waiting.Found(ready)
	w.waiting.Each(func(instance string) { more = more || w.pool.Room(instance) > 0 })
	return more, err
}

// reserve takes slots for threads to be claimed, the same number for each
// instance as far as it has room.
func (w *Worker) reserve(ready []string) []store.ThreadClaim {
	room := make([]int, len(ready))
	for i, instance := range ready {
		room[i] = w.pool.Room(instance)
	}
	w.first++
	var claims []store.ThreadClaim
	for i, part := range pool.Split(min(claimBatch, w.pool.Free()), room, w.first) {
		if slots := w.pool.Reserve(ready[i], part); slots > 0 {
			claims = append(claims, store.ThreadClaim{Instance: ready[i], Limit: slots})
		}
	}
	return claims
}

// claim takes threads and starts on them. It returns the instances of ready
// that may have more threads due.
func (w *Worker) claim(ctx context.Context, claims []store.ThreadClaim, ready []string, now time.Time) (waiting []string, err error) {
	threads, err := w.Store.ClaimThreads(ctx, claims, now, now.Add(w.config.Lease))
	taken := make(map[string]int, len(claims))
	for _, t := range threads {
		taken[t.Instance]++
		go w.work(t)
	}
	satisfied := make(map[string]bool, len(claims))
	for _, claim := range claims {
		if unused := claim.Limit - taken[claim.Instance]; unused > 0 {
			satisfied[claim.Instance] = err == nil
			w.pool.Release(claim.Instance, unused)
		}
	}
	for _, instance := range ready {
		if !satisfied[instance] {
			waiting = append(waiting, instance)
		}
	}
	return waiting, err
}

// Reserve takes a slot for a message of an instance that is about to be
// accepted, and returns the end of the lease to ask for; false if there is none.
// A slot must be given back by Start or Unreserve.
func (w *Worker) Reserve(instance string) (until time.Time, ok bool) {
	if w.waiting.Has(instance) || w.pool.Reserve(instance, 1) == 0 {
		// Whoever waits longer comes first.
		return time.Time{}, false
	}
	return w.keeper.Until(), true
}

// Queued says that a message of an instance was accepted for which no slot was
// reserved.
func (w *Worker) Queued(instance string) {
	w.waiting.Add(instance)
	if w.pool.Room(instance) > 0 {
		w.wake.Notify()
	} else {
		w.Full(instance)
	}
}

// Offered says that another process has no slot for a thread of an instance that
// is due; "" is any instance.
func (w *Worker) Offered(instance string) {
	if instance == "" && w.pool.Free() > 0 || instance != "" && w.pool.Room(instance) > 0 {
		w.wake.Notify()
	}
}

// Unreserve gives a slot back.
func (w *Worker) Unreserve(instance string) { w.release(instance) }

// Start works on a thread that was taken for a slot.
func (w *Worker) Start(t store.Thread) { go w.work(t) }

// release gives a slot back, and wakes the claimer if threads wait for one.
func (w *Worker) release(instance string) {
	w.pool.Release(instance, 1)
	w.waiting.Each(func(waiting string) {
		if w.pool.Worth(waiting) {
			w.wake.Notify()
		}
	})
}

// Package turns has each accepted message answered: it gives the oldest message
// of each thread to the agent and queues the answer as deliveries.
//
// A turn is repeated until its result is stored. The agent knows a message by
// its id and gives the same answer again, so nobody is answered twice.
package turns

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/lease"
	"github.com/prosa-chat/prosa/services/channel/internal/pool"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Store is the part of the store that the worker needs.
type Store interface {
	ThreadsDue(ctx context.Context, now time.Time) (bool, error)
	ClaimThreads(ctx context.Context, now, until time.Time, limit int) ([]store.Thread, error)
	Messages(ctx context.Context, key store.ThreadKey, after int64, limit int) ([]store.Message, error)
	FinishTurn(ctx context.Context, turn *store.Turn, now time.Time) (store.Finished, error)
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
	Reserve(endpointID string) (until time.Time, ok bool)
	Unreserve(endpointID string)
	// Queued says that a lane which could not be reserved has deliveries now.
	Queued(endpointID string)
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
	Directory  *directory.Directory
	Deliveries Deliveries
	Clock      clock.Clock
	IDs        *id.Source
	Rand       webhook.Rand
	Logger     *slog.Logger
	Metrics    prometheus.Registerer
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
	hungry  atomic.Bool   // threads are due that found no slot
	queued  atomic.Uint64 // how often Queued was called
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
	if err := w.Recover(ctx); err != nil {
		return err
	}
	w.pool.Open(ctx)
	var renewing sync.WaitGroup
	renew, stopRenewing := context.WithCancel(w.pool.Context())
	renewing.Go(func() { w.keeper.Run(renew) })
	defer func() {
		w.pool.Close()
		stopRenewing()
		renewing.Wait()
	}()

	poll := w.Clock.NewTimer(w.config.Poll)
	defer poll.Stop()
	for {
		more, err := w.runOnce(ctx)
		if err != nil && ctx.Err() == nil {
			// Not the worker's fault: the next poll tries again.
			w.Logger.LogAttrs(ctx, slog.LevelWarn, "claim turns", slog.String("error", err.Error()))
		}
		if more && ctx.Err() == nil {
			continue
		}
		poll.Reset(w.config.Poll)
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-poll.C():
		}
	}
}

// runOnce starts work on threads that are due, as many as there are slots for.
// It reports whether more may be due for which there is a slot.
func (w *Worker) runOnce(ctx context.Context) (more bool, err error) {
	queued := w.queued.Load()
	now := w.Clock.Now()
	due, err := w.Store.ThreadsDue(ctx, now)
	if err != nil {
		return false, err
	}
	if due {
		slots := w.pool.Reserve(claimBatch)
		threads := []store.Thread(nil)
		if slots > 0 {
			threads, err = w.Store.ClaimThreads(ctx, now, now.Add(w.config.Lease), slots)
		}
		for _, t := range threads {
			go w.work(t)
		}
		w.pool.Release(slots - len(threads))
		due = len(threads) == slots
	}
	w.hungry.Store(due && w.pool.Free() == 0)
	if w.queued.Load() != queued {
		// It came after the look at the store, and was perhaps noted before the line above.
		due = true
		w.hungry.Store(w.pool.Free() == 0)
	}
	return err == nil && due && w.pool.Free() > 0, err
}

// Reserve takes a slot for a message that is about to be accepted and returns
// the end of the lease to ask for; false if there is none. A slot must be given
// back by Start or Unreserve.
func (w *Worker) Reserve() (until time.Time, ok bool) {
	if w.hungry.Load() || w.pool.Reserve(1) == 0 {
		// Whoever waits longer comes first.
		return time.Time{}, false
	}
	return w.keeper.Until(), true
}

// Queued says that a message was accepted for which no slot was reserved.
func (w *Worker) Queued() {
	w.queued.Add(1) // before the flag; runOnce does it the other way round
	w.hungry.Store(true)
	if w.pool.Free() > 0 {
		w.wake.Notify()
	}
}

// Unreserve gives a slot back.
func (w *Worker) Unreserve() { w.release() }

// Start works on a thread that was taken for a slot.
func (w *Worker) Start(t store.Thread) { go w.work(t) }

// release gives a slot back. When threads wait for slots it wakes the claimer,
// but only for a batch that is worth a claim.
func (w *Worker) release() {
	free := w.pool.Release(1)
	if w.hungry.Load() && free >= max(1, w.config.Pool/4) {
		w.wake.Notify()
	}
}

// Package deliveries sends the answers: of each lane the oldest delivery that is
// not settled, again and again by the schedule, until the receiver has it or
// the attempts are used up; then the next.
//
// An endpoint that is slow, or does not answer, takes a bounded part of the
// places, and fewer the worse it is.
package deliveries

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/lease"
	"github.com/prosa-chat/prosa/services/channel/internal/pool"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Store is the part of the store that the worker needs.
type Store interface {
	ReadyEndpoints(ctx context.Context, now time.Time) ([]store.Endpoint, error)
	ClaimLanes(ctx context.Context, claims []store.Claim, now, until time.Time) ([]store.Lane, error)
	Deliveries(ctx context.Context, key store.LaneKey, after int64, limit int) ([]store.Delivery, error)
	Settle(ctx context.Context, d *store.Delivery, epoch int64, now time.Time) (bool, error)
	Retry(ctx context.Context, d *store.Delivery, epoch int64, next time.Time) error
	ReleaseLane(ctx context.Context, key store.LaneKey, epoch int64, now time.Time) error
	RenewLane(ctx context.Context, key store.LaneKey, epoch int64, until time.Time) error
	SetState(ctx context.Context, instance, id string, from, to store.State, reason string, now time.Time) (bool, error)
}

// Config bounds the worker. All fields are required.
type Config struct {
	// Pool is how many lanes are delivered from at once, PerEndpoint how many
	// of them may be of one endpoint.
	Pool, PerEndpoint int
	// Lease is how long a lane stays taken after its process died.
	Lease time.Duration
	// Poll is how often the store is asked for due lanes.
	Poll time.Duration
	// Grace is how long attempts may go on after the soft stop.
	Grace time.Duration
	// Schedule is the waits between attempts.
	Schedule webhook.Schedule
	// UserAgent is sent with each attempt.
	UserAgent string
}

// Deps are what the worker works with.
type Deps struct {
	Store     Store
	Client    *http.Client
	Directory *directory.Directory
	Clock     clock.Clock
	Rand      webhook.Rand
	Logger    *slog.Logger
	Metrics   prometheus.Registerer
	// Count counts deliveries by state; see NewCount.
	Count *prometheus.CounterVec
	// Recover runs before anything is claimed; see store.VoidLeases.
	Recover func(ctx context.Context) error
}

// Worker delivers. It is a lifecycle.Worker.
type Worker struct {
	Deps
	config    Config
	pool      *pool.Pool
	keeper    *lease.Keeper[store.LaneKey]
	endpoints *endpoints
	wake      pool.Signal
	hungry    atomic.Bool   // lanes are due that found no place
	queued    atomic.Uint64 // how often Queued was called
	turn      int           // which endpoint comes first in the next claim
	metrics   *metrics
}

// handBatch is how many deliveries of one lane are made before others get its
// place.
const handBatch = 32

// New returns a worker that does nothing until Run.
func New(config Config, deps Deps) (*Worker, error) {
	w := &Worker{
		Deps:      deps,
		config:    config,
		pool:      pool.New(config.Pool, deps.Clock, config.Grace),
		keeper:    lease.NewKeeper(deps.Clock, config.Lease, deps.Store.RenewLane),
		endpoints: newEndpoints(config.PerEndpoint),
		wake:      pool.NewSignal(),
		metrics:   newMetrics(deps.Count),
	}
	return w, metric.Register(deps.Metrics, w.metrics.attempts, w.metrics.seconds, w.metrics.inFlight)
}

// Name implements lifecycle.Worker.
func (w *Worker) Name() string { return "channel-deliveries" }

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
		w.Client.CloseIdleConnections()
	}()

	poll := w.Clock.NewTimer(w.config.Poll)
	defer poll.Stop()
	for {
		more, err := w.runOnce(ctx)
		if err != nil && ctx.Err() == nil {
			// Not the worker's fault: the next poll tries again.
			w.Logger.LogAttrs(ctx, slog.LevelWarn, "claim deliveries", slog.String("error", err.Error()))
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

// runOnce starts delivering from lanes that are due, as many as there are
// places for. It reports whether more may be due for which there is a place.
func (w *Worker) runOnce(ctx context.Context) (more bool, err error) {
	queued := w.queued.Load()
	w.endpoints.look()
	now := w.Clock.Now()
	ready, err := w.Store.ReadyEndpoints(ctx, now)
	if err != nil {
		return false, err
	}
	claims := w.reserve(ready)
	waiting := ready
	if len(claims) > 0 {
		waiting, err = w.claim(ctx, claims, ready, now)
	}
	more = w.endpoints.hungryAre(waiting)
	w.hungry.Store(more && w.pool.Free() == 0)
	if w.queued.Load() != queued && w.pool.Free() == 0 {
		w.hungry.Store(true) // what came after the look was perhaps noted before the line above
	}
	return err == nil && more && w.pool.Free() > 0, err
}

// reserve takes places, and room at the endpoints, for lanes to be claimed.
func (w *Worker) reserve(ready []store.Endpoint) []store.Claim {
	w.turn++
	claims := w.endpoints.share(ready, w.pool.Free(), w.turn)
	entered := claims[:0]
	for _, claim := range claims {
		places := w.pool.Reserve(claim.Limit)
		claim.Limit = w.endpoints.enter(claim.ID, places)
		w.pool.Release(places - claim.Limit)
		if claim.Limit > 0 {
			entered = append(entered, claim)
		}
	}
	return entered
}

// claim takes lanes and starts on them. It returns the endpoints of ready that
// may have more lanes due.
func (w *Worker) claim(ctx context.Context, claims []store.Claim, ready []store.Endpoint, now time.Time) (waiting []store.Endpoint, err error) {
	lanes, err := w.Store.ClaimLanes(ctx, claims, now, now.Add(w.config.Lease))
	taken := make(map[string]int, len(claims))
	for _, l := range lanes {
		taken[l.EndpointID]++
		go w.work(l)
	}
	satisfied := make(map[string]bool, len(claims))
	for _, claim := range claims {
		if unused := claim.Limit - taken[claim.ID]; unused > 0 {
			satisfied[claim.ID] = err == nil
			w.endpoints.leave(claim.ID, unused)
			w.pool.Release(unused)
		}
	}
	for _, endpoint := range ready {
		if !satisfied[endpoint.ID] {
			waiting = append(waiting, endpoint)
		}
	}
	return waiting, err
}

// Reserve implements turns.Deliveries.
func (w *Worker) Reserve(endpointID string) (until time.Time, ok bool) {
	if w.hungry.Load() || w.pool.Reserve(1) == 0 {
		return time.Time{}, false // whoever waits longer comes first
	}
	if !w.endpoints.enterOne(endpointID) {
		w.pool.Release(1)
		return time.Time{}, false
	}
	return w.keeper.Until(), true
}

// Queued implements turns.Deliveries.
func (w *Worker) Queued(endpointID string) {
	w.queued.Add(1) // before the flag; runOnce does it the other way round
	w.hungry.Store(true)
	if w.endpoints.queued(endpointID) && w.pool.Free() > 0 {
		w.wake.Notify()
	}
}

// Unreserve implements turns.Deliveries.
func (w *Worker) Unreserve(endpointID string) { w.release(endpointID) }

// Start implements turns.Deliveries.
func (w *Worker) Start(lane store.Lane) { go w.work(lane) }

// release gives a place back, and wakes the claimer if lanes wait for it.
func (w *Worker) release(endpointID string) {
	free := w.pool.Release(1)
	claim := w.endpoints.leave(endpointID, 1)
	if claim || (w.hungry.Load() && free >= max(1, w.config.Pool/4)) {
		w.wake.Notify()
	}
}

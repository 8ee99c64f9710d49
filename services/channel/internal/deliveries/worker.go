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
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/lease"
	"github.com/prosa-chat/prosa/services/channel/internal/pool"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/channel/internal/tracing"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Store is the part of the store that the worker needs.
type Store interface {
	ReadyEndpoints(ctx context.Context, now time.Time) ([]store.Endpoint, error)
	ClaimLanes(ctx context.Context, claims []store.Claim, now, until time.Time) ([]store.Lane, error)
	PendingDeliveries(ctx context.Context, key store.LaneKey, after int64, limit int) ([]store.Delivery, error)
	Settle(ctx context.Context, d *store.Delivery, epoch int64, now time.Time) (store.Settled, error)
	Retry(ctx context.Context, d *store.Delivery, epoch int64, next time.Time) error
	ParkLane(ctx context.Context, d *store.Delivery, epoch int64, now time.Time) error
	ReleaseLane(ctx context.Context, key store.LaneKey, epoch int64, now time.Time) error
	RenewLane(ctx context.Context, key store.LaneKey, epoch int64, until time.Time) error
	SetState(ctx context.Context, instance, id string, from, to store.State, reason string, now time.Time) (bool, error)
	SetBotAPIState(ctx context.Context, instance, id string, from, to store.State, reason string, now time.Time) (bool, error)
}

// Config bounds the worker. All fields are required.
type Config struct {
	// Pool is how many lanes are delivered from at once, PerEndpoint how many
	// exchanges go on with one endpoint.
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
	// Tracer makes a span of each attempt; nil makes none.
	Tracer *tracing.Tracer
	// Count counts deliveries by state; see NewCount.
	Count *prometheus.CounterVec
	// Recover runs before anything is claimed; see store.VoidLeases.
	Recover func(ctx context.Context) error
	// Full is told that a lane of an endpoint is due for which this process has
	// no place; another one may. It must not block.
	Full func(endpoint store.Endpoint)
	// Alone says that no other process takes lanes of the store. Then those that
	// find no place wait for one here; else another process may have one.
	Alone bool
}

// Worker delivers. It is a lifecycle.Worker.
type Worker struct {
	Deps
	config    Config
	pool      *pool.Pool
	keeper    *lease.Keeper[store.LaneKey]
	endpoints *endpoints
	wake      pool.Signal
	waiting   pool.Waiting[store.Endpoint] // endpoints with lanes that are due and found no place
	starved   pool.Waiting[string]         // instances of those for which only the pool has no room
	turn      int                          // which instance and endpoint come first in the next claim
	metrics   *metrics
	lastWork  atomic.Int64 // when a lane was taken up last, in Unix microseconds
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
		endpoints: newEndpoints(config.PerEndpoint, deps.Clock),
		wake:      pool.NewSignal(),
	}
	w.metrics = newMetrics(deps.Count, w.endpoints.tripped)
	return w, metric.Register(deps.Metrics, w.metrics.attempts, w.metrics.seconds, w.metrics.tripped, w.metrics.inFlight)
}

// Name implements lifecycle.Worker.
func (w *Worker) Name() string { return "channel-deliveries" }

// Run implements lifecycle.Worker.
func (w *Worker) Run(ctx context.Context) error {
	claimer := pool.Claimer{
		What: "deliveries", Pool: w.pool, Recover: w.Recover, Keep: w.keeper.Run, RunOnce: w.runOnce, Wake: w.wake, Poll: w.config.Poll,
		Clock: w.Clock, Logger: w.Logger,
	}
	defer w.Client.CloseIdleConnections()
	return claimer.Run(ctx)
}

// runOnce starts delivering from lanes that are due, as many as there are
// places for. It reports whether more may be due for which there is a place.
func (w *Worker) runOnce(ctx context.Context) (more bool, err error) {
	w.waiting.Look()
	w.starved.Look()
	now := w.Clock.Now()
	ready, err := w.Store.ReadyEndpoints(ctx, now)
	if err != nil {
		return false, err
	}
	if claims := w.reserve(ready); len(claims) > 0 {
		ready, err = w.claim(ctx, claims, ready, now)
	}
	w.waiting.Found(ready)
	var starved []string
	w.waiting.Each(func(endpoint store.Endpoint) {
		switch {
		case w.endpoints.room(endpoint.ID) == 0:
		case w.pool.Room(endpoint.Instance) == 0:
			starved = append(starved, endpoint.Instance)
		default:
			more = true
		}
	})
	w.starved.Found(starved)
	return more, err
}

// reserve takes places, of the pool and at the endpoints, for lanes to be claimed.
func (w *Worker) reserve(ready []store.Endpoint) []store.Claim {
	w.turn++
	room := func(endpoint store.Endpoint) int { return w.endpoints.room(endpoint.ID) }
	claims := share(ready, room, w.pool.Room, w.pool.Free(), w.turn)
	entered := claims[:0]
	for _, claim := range claims {
		places := w.pool.Reserve(claim.Instance, claim.Limit)
		claim.Limit = w.endpoints.enter(claim.ID, places)
		w.pool.Release(claim.Instance, places-claim.Limit)
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
		go w.work(l, true)
	}
	satisfied := make(map[string]bool, len(claims))
	for _, claim := range claims {
		if unused := claim.Limit - taken[claim.ID]; unused > 0 {
			satisfied[claim.ID] = err == nil
			w.endpoints.leave(claim.ID, unused)
			w.pool.Release(claim.Instance, unused)
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
func (w *Worker) Reserve(endpoint store.Endpoint) (until time.Time, ok bool) {
	if w.starved.Has(endpoint.Instance) || w.waiting.Has(endpoint) {
		return time.Time{}, false // whoever waits longer comes first
	}
	// Half of the pool is for lanes that have an exchange, so that those of a
	// slow receiver, which wait for theirs, are in nobody's way.
	if !w.endpoints.expect(endpoint.ID, w.Alone && 2*w.pool.Free() > w.config.Pool) {
		return time.Time{}, false
	}
	if w.pool.Reserve(endpoint.Instance, 1) == 0 {
		w.unexpect(endpoint)
		return time.Time{}, false
	}
	return w.keeper.Until(), true
}

// Queued implements turns.Deliveries.
func (w *Worker) Queued(endpoint store.Endpoint) {
	w.waiting.Add(endpoint)
	room := w.endpoints.room(endpoint.ID) > 0
	if room {
		w.offer(endpoint)
	}
	if !room || w.pool.Room(endpoint.Instance) == 0 {
		w.Full(endpoint)
	}
}

// Offered says that another process has no place for a lane of an endpoint that
// is due; the zero value is any endpoint.
func (w *Worker) Offered(endpoint store.Endpoint) {
	if endpoint == (store.Endpoint{}) {
		if w.pool.Free() > 0 {
			w.wake.Notify()
		}
	} else if w.endpoints.room(endpoint.ID) > 0 && w.pool.Room(endpoint.Instance) > 0 {
		w.wake.Notify()
	}
}

// Resumed says that lanes of an endpoint were made due because the endpoint has
// changed, or somebody wants it tried: what is known of its failures counts no
// more.
func (w *Worker) Resumed(endpoint store.Endpoint) {
	w.endpoints.reset(endpoint.ID)
	w.Queued(endpoint)
}

// ResumedElsewhere is Resumed for what another process was told.
func (w *Worker) ResumedElsewhere(endpoint store.Endpoint) {
	w.endpoints.reset(endpoint.ID)
	w.Offered(endpoint)
}

// Unreserve implements turns.Deliveries.
func (w *Worker) Unreserve(endpoint store.Endpoint) {
	w.unexpect(endpoint)
	w.release(endpoint.Instance)
}

// Start implements turns.Deliveries.
func (w *Worker) Start(lane store.Lane) { go w.work(lane, false) }

// release gives a place of the pool back, and wakes the claimer if lanes wait
// for one.
func (w *Worker) release(instance string) {
	w.pool.Release(instance, 1)
	w.starved.Each(func(starved string) {
		if w.pool.Worth(starved) {
			w.wake.Notify()
		}
	})
}

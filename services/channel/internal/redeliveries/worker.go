// Package redeliveries sends again what was settled once and is asked for again:
// of each conversation the delivery with the lowest sequence, by the whole
// schedule, then the next. It goes behind live messages: it has few places of
// its own, and takes room at an endpoint only while nothing live waits for it.
package redeliveries

import (
	"context"
	"log/slog"
	"sync"
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
	ReadyRedeliveries(ctx context.Context, now time.Time) ([]store.Endpoint, error)
	ClaimRedeliveries(ctx context.Context, claims []store.Claim, now, until time.Time) ([]store.Redelivery, error)
	NextRedelivery(ctx context.Context, key store.LaneKey) (d store.Delivery, ok bool, err error)
	SettleRedelivery(ctx context.Context, d *store.Delivery, epoch int64, now time.Time) (more bool, err error)
	RetryRedelivery(ctx context.Context, d *store.Delivery, epoch int64, next time.Time) error
	ReleaseRedelivery(ctx context.Context, key store.LaneKey, epoch int64, now time.Time) error
	RenewRedelivery(ctx context.Context, key store.LaneKey, epoch int64, until time.Time) error
}

// Exchange is what this worker shares with the live one; deliveries.Worker is it.
type Exchange interface {
	// Attempt sends a delivery once and takes note of what came of it; made is
	// false if it was interrupted.
	Attempt(ctx context.Context, endpoint *directory.Endpoint, d *store.Delivery) (outcome webhook.Outcome, made bool)
	// Settled counts a delivery that is stored as Delivered or Dead.
	Settled(ctx context.Context, d *store.Delivery)
	// Enter takes room at an endpoint, unless something live waits for it;
	// Leave gives it back.
	Enter(e store.Endpoint) bool
	Leave(e store.Endpoint)
	// Calm reports whether nothing live was sent for a while.
	Calm() bool
}

// Config bounds the worker. All fields are required.
type Config struct {
	// Pool is how many conversations are sent from at once, PerEndpoint how many
	// of them may be of one endpoint.
	Pool, PerEndpoint int
	// Lease is how long a conversation stays taken after its process died.
	Lease time.Duration
	// Poll is how often the store is asked for what is due.
	Poll time.Duration
	// Grace is how long attempts may go on after the soft stop.
	Grace time.Duration
	// Schedule is the waits between attempts.
	Schedule webhook.Schedule
}

// Deps are what the worker works with.
type Deps struct {
	Store     Store
	Exchange  Exchange
	Directory *directory.Directory
	Clock     clock.Clock
	Rand      webhook.Rand
	Logger    *slog.Logger
	Metrics   prometheus.Registerer
	// Recover runs before anything is claimed; see store.VoidLeases.
	Recover func(ctx context.Context) error
}

// Worker sends again. It is a lifecycle.Worker.
type Worker struct {
	Deps
	config  Config
	pool    *pool.Pool
	keeper  *lease.Keeper[store.LaneKey]
	wake    pool.Signal
	turn    int // which endpoint comes first in the next claim
	flights prometheus.Gauge

	mu       sync.Mutex
	inFlight map[string]int // by endpoint; no zeros
	working  int            // the sum of inFlight
}

// New returns a worker that does nothing until Run.
func New(config Config, deps Deps) (*Worker, error) {
	w := &Worker{
		Deps:     deps,
		config:   config,
		pool:     pool.New(config.Pool, deps.Clock, config.Grace),
		keeper:   lease.NewKeeper(deps.Clock, config.Lease, deps.Store.RenewRedelivery),
		wake:     pool.NewSignal(),
		inFlight: make(map[string]int),
		flights: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "prosa_channel_redeliveries_in_flight", Help: "Conversations of which something is being sent again now.",
		}),
	}
	return w, metric.Register(deps.Metrics, w.flights)
}

// Name implements lifecycle.Worker.
func (w *Worker) Name() string { return "channel-redeliveries" }

// Wake makes the worker look for work now.
func (w *Worker) Wake() { w.wake.Notify() }

// Run implements lifecycle.Worker.
func (w *Worker) Run(ctx context.Context) error {
	claimer := pool.Claimer{
		What: "redeliveries", Pool: w.pool, Recover: w.Recover, Keep: w.keeper.Run, Wake: w.wake, Poll: w.config.Poll,
		RunOnce: func(ctx context.Context) (more bool, err error) { return false, w.runOnce(ctx) },
		Clock:   w.Clock, Logger: w.Logger,
	}
	return claimer.Run(ctx)
}

// runOnce starts sending what is due, as much as there are places for.
func (w *Worker) runOnce(ctx context.Context) error {
	now := w.Clock.Now()
	ready, err := w.Store.ReadyRedeliveries(ctx, now)
	if err != nil {
		return err
	}
	claims := w.reserve(ready)
	if len(claims) == 0 {
		return nil
	}
	taken, err := w.Store.ClaimRedeliveries(ctx, claims, now, now.Add(w.config.Lease))
	unused := make(map[store.Endpoint]int, len(claims))
	for _, claim := range claims {
		unused[claim.Endpoint] = claim.Limit
	}
	for _, r := range taken {
		unused[store.Endpoint{Instance: r.Instance, ID: r.EndpointID}]--
		go w.work(r)
	}
	for endpoint, n := range unused {
		for range n {
			w.leave(endpoint)
		}
	}
	return err
}

// reserve takes places and room for conversations to be claimed; which endpoint
// comes first changes from call to call.
func (w *Worker) reserve(ready []store.Endpoint) []store.Claim {
	w.turn++
	var claims []store.Claim
	for i := range ready {
		endpoint := ready[(i+w.turn)%len(ready)]
		n := 0
		for w.enter(endpoint) {
			n++
		}
		if n > 0 {
			claims = append(claims, store.Claim{Endpoint: endpoint, Limit: n})
		}
	}
	return claims
}

// enter takes one place, if the endpoint may have it.
func (w *Worker) enter(e store.Endpoint) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inFlight[e.ID] == w.config.PerEndpoint || w.pool.Reserve(e.Instance, 1) == 0 {
		return false
	}
	if !w.Exchange.Enter(e) {
		w.pool.Release(e.Instance, 1)
		return false
	}
	w.inFlight[e.ID]++
	w.working++
	return true
}

// leave gives back what enter took.
func (w *Worker) leave(e store.Endpoint) {
	w.Exchange.Leave(e)
	w.release(e)
}

// release gives a place of this worker back, and reports whether so many are
// free that a look for work is worth its cost.
func (w *Worker) release(e store.Endpoint) (worth bool) {
	w.pool.Release(e.Instance, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.working--
	left := w.inFlight[e.ID] - 1
	if w.inFlight[e.ID] = left; left == 0 {
		delete(w.inFlight, e.ID)
	}
	return left <= w.config.PerEndpoint/2
}

// place is a conversation's place at its endpoint. It is held for an exchange,
// and not while what came of that is stored: live messages come in between.
type place struct {
	worker   *Worker
	endpoint store.Endpoint
	held     bool
}

// take takes the place, unless it is held, and reports whether it has it.
func (p *place) take() bool {
	p.held = p.held || p.worker.Exchange.Enter(p.endpoint)
	return p.held
}

// leave gives the place back if it is held.
func (p *place) leave() {
	if p.held {
		p.held = false
		p.worker.Exchange.Leave(p.endpoint)
	}
}

// Package upkeep is what has to be done now and then: cancelling what deleted
// channels left behind, forgetting idempotency keys, counting what waits.
package upkeep

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/channel/internal/pool"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

const (
	// reapBatch is how many deleted channels one look takes.
	reapBatch = 100
	// settleTime is how long a deleted channel is looked at again: a process
	// that did not know of the deletion yet may still have accepted a message.
	settleTime = time.Minute
	// shiftTime is how long a process that froze keeps the others from the work.
	shiftTime = time.Minute
)

// ReaperStore is the part of the store that the reaper needs.
type ReaperStore interface {
	Unreaped(ctx context.Context, limit int) ([]store.Deleted, error)
	CancelThreads(ctx context.Context, e store.Endpoint) (int64, bool, error)
	CancelLanes(ctx context.Context, e store.Endpoint, now time.Time) (int64, bool, error)
	CancelRedeliveries(ctx context.Context, e store.Endpoint, now time.Time) (int64, bool, error)
	MarkReaped(ctx context.Context, e store.Endpoint, now time.Time) error
}

// Reaper cancels what deleted channels left behind, in one process at a time. It is a lifecycle.Worker.
type Reaper struct {
	store    ReaperStore
	shift    worklease.Shift // if two work for a moment nothing goes wrong: what one has cancelled the other does not find
	clock    clock.Clock
	logger   *slog.Logger
	poll     time.Duration
	wake     pool.Signal
	messages prometheus.Counter
	count    prometheus.Counter
}

// NewReaper returns a reaper that looks for work every poll, and when it is
// woken. db is the store's, and holder names this process there; deliveries
// counts deliveries by state.
func NewReaper(
	s ReaperStore, db *sqldb.DB, holder string, c clock.Clock, logger *slog.Logger, poll time.Duration, deliveries *prometheus.CounterVec,
	metrics prometheus.Registerer,
) (*Reaper, error) {
	r := &Reaper{
		store: s, clock: c, logger: logger, poll: poll, wake: pool.NewSignal(), count: deliveries.WithLabelValues("cancelled"),
		shift: worklease.Shift{DB: db, Name: "reaper", Holder: holder, Length: shiftTime},
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "prosa_channel_messages_cancelled_total", Help: "Accepted messages that were not answered because their channel was deleted.",
		}),
	}
	return r, metric.Register(metrics, r.messages)
}

// Wake makes the reaper look now.
func (r *Reaper) Wake() { r.wake.Notify() }

// Name implements lifecycle.Worker.
func (r *Reaper) Name() string { return "channel-reaper" }

// Run implements lifecycle.Worker.
func (r *Reaper) Run(ctx context.Context) error {
	for {
		if err := r.runOnce(ctx); err != nil && ctx.Err() == nil {
			r.logger.LogAttrs(ctx, slog.LevelWarn, "cancel work of deleted channels", slog.String("error", err.Error()))
		}
		if !clock.Wait(ctx, r.clock, r.poll, r.wake) {
			return nil
		}
	}
}

func (r *Reaper) runOnce(ctx context.Context) error {
	deleted, err := r.store.Unreaped(ctx, reapBatch)
	if err != nil {
		return err
	}
	for _, channel := range deleted {
		if held, err := r.shift.Hold(ctx, r.clock.Now()); err != nil || !held {
			return err // somebody else does it
		}
		if err := r.reap(ctx, channel); err != nil {
			return err
		}
	}
	return nil
}

// reap cancels the messages first: after that no turn of the channel can end,
// and so no delivery be added behind those that are cancelled.
func (r *Reaper) reap(ctx context.Context, channel store.Deleted) error {
	for done := false; !done; {
		if held, err := r.shift.Hold(ctx, r.clock.Now()); err != nil || !held {
			return err
		}
		n, none, err := r.store.CancelThreads(ctx, channel.Endpoint)
		if err != nil {
			return err
		}
		r.messages.Add(float64(n))
		done = none
	}
	for _, cancel := range []func(context.Context, store.Endpoint, time.Time) (int64, bool, error){r.store.CancelLanes, r.store.CancelRedeliveries} {
		for done := false; !done; {
			n, none, err := cancel(ctx, channel.Endpoint, r.clock.Now())
			if err != nil {
				return err
			}
			r.count.Add(float64(n))
			done = none
		}
	}
	if r.clock.Now().Sub(channel.DeleteTime) < settleTime {
		return nil
	}
	return r.store.MarkReaped(ctx, channel.Endpoint, r.clock.Now())
}

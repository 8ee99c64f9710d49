// Package idle ends conversations in which nothing happens any more.
package idle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

const (
	// interval is how often the worker looks. It is also how long it waits when it starts: what was accepted in time while nobody
	// answered has its turn first.
	interval = 30 * time.Second
	// grace is how long a message that was accepted at the last moment may wait for its turn.
	grace = 30 * time.Second
	// batchSize is how many conversations one transaction ends at most.
	batchSize = 200
	// shiftTime is how long a process that froze keeps the others from the work.
	shiftTime = 4 * interval
)

// End is when a conversation is over whose last turn was answered at a moment, unless something happens before. It reports false when
// the instance lets conversations be for ever.
func End(last time.Time, instance *accountsv1.Instance) (time.Time, bool) {
	timeout := instance.GetInactivityTimeout().AsDuration()
	return last.Add(timeout), timeout > 0
}

// Store is the part of the store that the worker needs.
type Store interface {
	NextOpenInstance(ctx context.Context, after string) (string, error)
	Silent(ctx context.Context, instance string, since time.Time, after store.Silent, limit int) ([]store.Silent, error)
	FinishSilent(ctx context.Context, instance string, ids []string, since time.Time, timeout time.Duration) (int, error)
}

// Instances looks instances up.
type Instances interface {
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// Deps are what a Worker works with. All are required, but Metrics.
type Deps struct {
	Store Store
	// DB is the store's, for the lease of the work, and Holder names this process there.
	DB        *sqldb.DB
	Holder    string
	Instances Instances
	Clock     clock.Clock
	Logger    *slog.Logger
	// Metrics gets prosa_agent_idle_conversations_total. Nil keeps it to the worker.
	Metrics prometheus.Registerer
}

// Worker ends the conversations that are over, in batches, in one process at a time. If two do it for a moment nothing goes wrong: each
// conversation is looked at again in the statement that ends it.
type Worker struct {
	deps  Deps
	shift worklease.Shift
	ended prometheus.Counter
}

// NewWorker returns a worker. It fails when the metric is registered already.
func NewWorker(deps Deps) (*Worker, error) {
	shift := worklease.Shift{DB: deps.DB, Name: "idle", Holder: deps.Holder, Length: shiftTime}
	w := &Worker{deps: deps, shift: shift, ended: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "prosa_agent_idle_conversations_total",
		Help: "Conversations that were ended because nothing happened in them any more, and nobody wrote again.",
	})}
	return w, metric.Register(deps.Metrics, w.ended)
}

// Name is the worker's name.
func (w *Worker) Name() string { return "agent-idle" }

// Run looks at every interval until the context ends.
func (w *Worker) Run(ctx context.Context) error {
	for clock.Wait(ctx, w.deps.Clock, interval, nil) {
		if err := w.runOnce(ctx); err != nil && ctx.Err() == nil {
			w.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "idle conversations could not be ended", slog.String("error", err.Error()),
				slog.Duration("retry_in", interval))
		}
	}
	return nil
}

// runOnce goes once through all instances. One that cannot be looked up does not keep the others.
func (w *Worker) runOnce(ctx context.Context) error {
	var unknown error
	for slug := ""; ; {
		held, err := w.shift.Hold(ctx, w.deps.Clock.Now())
		if err != nil || !held {
			return errors.Join(unknown, err) // somebody else does it
		}
		if slug, err = w.deps.Store.NextOpenInstance(ctx, slug); errors.Is(err, store.ErrNotFound) {
			return unknown
		} else if err != nil {
			return errors.Join(unknown, err)
		}
		instance, err := w.deps.Instances.Get(ctx, slug)
		switch {
		case err == nil:
			if err := w.sweep(ctx, slug, instance); err != nil {
				return errors.Join(unknown, err)
			}
		case ctx.Err() != nil:
			return err
		case rpcerr.Code(err) != codes.NotFound: // of a deleted instance nothing needs to end
			unknown = fmt.Errorf("look up instance: %w", err) // the last one says enough
		}
	}
}

// sweep ends what is over in one instance.
func (w *Worker) sweep(ctx context.Context, slug string, instance *accountsv1.Instance) error {
	timeout := instance.GetInactivityTimeout().AsDuration()
	if timeout <= 0 {
		return nil
	}
	since := w.deps.Clock.Now().Add(-timeout - grace)
	var last store.Silent
	for {
		if held, err := w.shift.Hold(ctx, w.deps.Clock.Now()); err != nil || !held {
			return err
		}
		page, err := w.deps.Store.Silent(ctx, slug, since, last, batchSize)
		if err != nil || len(page) == 0 {
			return err
		}
		ids := make([]string, len(page))
		for i, c := range page {
			ids[i] = c.ID
		}
		ended, err := w.deps.Store.FinishSilent(ctx, slug, ids, since, timeout)
		if err != nil {
			return err
		}
		w.ended.Add(float64(ended))
		if len(page) < batchSize {
			return nil
		}
		last = page[len(page)-1]
	}
}

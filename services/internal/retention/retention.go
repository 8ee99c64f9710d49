// Package retention deletes what is finished and older than an instance keeps: a worker of each service that stores anything about
// persons, in short batches, in one process at a time. What is pending is never deleted, nor are the records of erasures.
//
// Every service that uses it has the table of package worklease in its migrations.
package retention

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

const (
	// Interval is how often the worker looks; the first time after one.
	Interval = time.Hour
	// leaseTime is how long a process that froze keeps the others from the work.
	leaseTime = 5 * time.Minute
	leaseName = "retention"
)

// Store is what the worker deletes from.
type Store interface {
	// NextInstance is the first instance after one that has anything; empty: there is none.
	NextInstance(ctx context.Context, after string) (string, error)
	// Retire deletes what was finished before a time, in one short batch, and says how many of which kind. It goes on behind the
	// cursor, "" at first, and gives the next one, "" at the end.
	Retire(ctx context.Context, instance string, before time.Time, cursor string) (next string, deleted map[string]int64, err error)
}

// Instances looks instances up.
type Instances interface {
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// Deps are what a Worker works with. All are required unless they say otherwise.
type Deps struct {
	// Service names the worker and the metric.
	Service   string
	DB        *sqldb.DB
	Store     Store
	Instances Instances
	Clock     clock.Clock
	Logger    *slog.Logger
	// Holder names this process among those that share the store.
	Holder string
	// Kinds are what Retire counts.
	Kinds []string
	// Slack is how much longer this service keeps things: those that others find their own by.
	Slack time.Duration
	// Metrics gets prosa_<service>_retired_total. Nil keeps it to the worker.
	Metrics prometheus.Registerer
}

// Worker is a lifecycle.Worker.
type Worker struct {
	Deps
	retired *prometheus.CounterVec
	shift   worklease.Shift // nothing goes wrong if two delete at once for a moment; it is only twice the work
}

// NewWorker returns a worker. It fails when the metric is registered already.
func NewWorker(deps Deps) (*Worker, error) {
	w := &Worker{Deps: deps, retired: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_" + deps.Service + "_retired_total", Help: "What was deleted because it was older than its instance keeps, by kind.",
	}, []string{"kind"})}
	w.shift = worklease.Shift{DB: deps.DB, Name: leaseName, Holder: deps.Holder, Length: leaseTime}
	metric.Begin(w.retired, deps.Kinds...)
	return w, metric.Register(deps.Metrics, w.retired)
}

// Name is the worker's name.
func (w *Worker) Name() string { return w.Service + "-retention" }

// Run deletes at every interval until the context ends.
func (w *Worker) Run(ctx context.Context) error {
	for clock.Wait(ctx, w.Clock, Interval, nil) {
		if err := w.runOnce(ctx); err != nil && ctx.Err() == nil {
			w.Logger.LogAttrs(ctx, slog.LevelWarn, "what is older than its instance keeps could not be deleted",
				slog.String("store", w.Service), slog.String("error", err.Error()), slog.Duration("retry_in", Interval))
		}
	}
	return nil
}

// runOnce goes once through all instances. One that cannot be looked up does not keep the others.
func (w *Worker) runOnce(ctx context.Context) error {
	var unknown error
	for slug := ""; ; {
		held, err := w.shift.Hold(ctx, w.Clock.Now())
		if err != nil || !held {
			return err // somebody else does it
		}
		if slug, err = w.Store.NextInstance(ctx, slug); err != nil {
			return err
		}
		if slug == "" {
			w.shift.Forget() // the next run asks for the lease again, and mostly gets it
			return unknown
		}
		instance, err := w.Instances.Get(ctx, slug)
		switch {
		case err == nil:
			if err := w.sweep(ctx, slug, instance); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return err
		case rpcerr.Code(err) != codes.NotFound:
			unknown = fmt.Errorf("look up instance: %w", err) // the last one says enough
		}
	}
}

// sweep deletes what is too old in one instance.
func (w *Worker) sweep(ctx context.Context, slug string, instance *accountsv1.Instance) error {
	if instance.GetRetention() == nil || instance.GetRetention().AsDuration() <= 0 {
		return nil // for ever
	}
	before := w.Clock.Now().Add(-instance.GetRetention().AsDuration() - w.Slack)
	for cursor, begun := "", false; cursor != "" || !begun; begun = true {
		held, err := w.shift.Hold(ctx, w.Clock.Now())
		if err != nil || !held {
			return err
		}
		next, deleted, err := w.Store.Retire(ctx, slug, before, cursor)
		if err != nil {
			return err
		}
		for kind, n := range deleted {
			w.retired.WithLabelValues(kind).Add(float64(n))
		}
		cursor = next
	}
	return nil
}

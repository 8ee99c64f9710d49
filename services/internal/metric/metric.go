// Package metric registers what the process counts.
package metric

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Register registers collectors; a nil registerer keeps them to their owner. The error joins those of all that are registered
// already or have a bad name.
func Register(registerer prometheus.Registerer, collectors ...prometheus.Collector) error {
	if registerer == nil {
		return nil
	}
	var errs []error
	for _, collector := range collectors {
		if err := registerer.Register(collector); err != nil {
			errs = append(errs, fmt.Errorf("register metric: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Shared registers a collector under which several parts of the process meet: it returns the one of the same description that was
// registered before, if there is one. A nil registerer keeps it to its owner.
func Shared[C prometheus.Collector](registerer prometheus.Registerer, collector C) (C, error) {
	err := Register(registerer, collector)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		if same, ok := before.ExistingCollector.(C); ok {
			return same, nil
		}
	}
	return collector, err
}

// Begin has a counter with one label begin at 0 for each of the values, so that the first increase can be seen as one, and a
// dashboard knows what there is.
func Begin(counter *prometheus.CounterVec, values ...string) {
	for _, value := range values {
		counter.WithLabelValues(value)
	}
}

// Age is for how many seconds the oldest of something has waited, 0 if nothing waits: since is zero then.
func Age(since, now time.Time) float64 {
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since).Seconds())
}

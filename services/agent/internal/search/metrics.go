package search

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
)

// lookTimeout bounds what a scrape waits for.
const lookTimeout = 2 * time.Second

// Backlog knows the turns that are not in the index yet.
type Backlog interface {
	OldestUnindexed(ctx context.Context) (time.Time, error)
}

// RegisterMetrics registers prosa_agent_oldest_unindexed_seconds, which is looked up at each scrape; a nil registerer makes none.
func RegisterMetrics(registerer prometheus.Registerer, b Backlog, c clock.Clock) error {
	return metric.Register(registerer, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "prosa_agent_oldest_unindexed_seconds",
		Help: "Age of the oldest turn that waits for the search index, 0 if there is none; NaN when that cannot be told.",
	}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout) //nolint:forbidigo // a scrape hands no context to its collectors
		defer cancel()
		oldest, err := b.OldestUnindexed(ctx)
		if err != nil {
			return math.NaN()
		}
		return metric.Age(oldest, c.Now())
	}))
}

package record

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

const (
	// countLimit bounds what a scrape counts: a backlog is as alarming at this number as beyond it.
	countLimit   = 100_000
	countTimeout = 2 * time.Second
)

// Metrics counts records.
type Metrics struct {
	recorded, postponed, refused prometheus.Counter
}

// Counter counts the pending records.
type Counter interface {
	CountRecords(ctx context.Context, limit int) (int, error)
}

// NewMetrics registers prosa_agent_records_total and prosa_agent_record_pending; a nil registerer keeps them to itself. The pending
// records are counted at each scrape.
func NewMetrics(registerer prometheus.Registerer, counter Counter) (*Metrics, error) {
	records := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_agent_records_total", Help: "Turns given to contacts, by what became of them; postponed ones come again.",
	}, []string{"outcome"})
	pending := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "prosa_agent_record_pending", Help: "Turns that contacts does not have yet, 100,000 at most; NaN when they cannot be counted.",
	}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), countTimeout) //nolint:forbidigo // a scrape hands no context to its collectors
		defer cancel()
		n, err := counter.CountRecords(ctx, countLimit)
		if err != nil {
			return math.NaN()
		}
		return float64(n)
	})
	m := &Metrics{
		recorded: records.WithLabelValues("recorded"), postponed: records.WithLabelValues("postponed"),
		refused: records.WithLabelValues("refused"),
	}
	return m, metric.Register(registerer, records, pending)
}

package record

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/clock"
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
	CountRecords(ctx context.Context, limit int) (count int, oldest time.Time, err error)
}

// NewMetrics registers prosa_agent_records_total, prosa_agent_record_pending and prosa_agent_oldest_record_seconds; a nil registerer keeps
// them to itself. The pending records are counted at each scrape.
func NewMetrics(registerer prometheus.Registerer, counter Counter, c clock.Clock) (*Metrics, error) {
	records := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_agent_records_total", Help: "Turns given to contacts, by what became of them; postponed ones come again.",
	}, []string{"outcome"})
	m := &Metrics{
		recorded: records.WithLabelValues("recorded"), postponed: records.WithLabelValues("postponed"),
		refused: records.WithLabelValues("refused"),
	}
	return m, metric.Register(registerer, records, &backlog{
		counter: counter, clock: c,
		pending: prometheus.NewDesc("prosa_agent_record_pending",
			"Turns that contacts does not have yet, 100,000 at most; NaN when they cannot be counted.", nil, nil),
		oldest: prometheus.NewDesc("prosa_agent_oldest_record_seconds",
			"Age of the oldest of them, 0 if there is none; NaN when they cannot be counted.", nil, nil),
	})
}

// backlog tells what waits, counted when somebody asks. It is a prometheus.Collector.
type backlog struct {
	counter         Counter
	clock           clock.Clock
	pending, oldest *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (b *backlog) Describe(to chan<- *prometheus.Desc) {
	to <- b.pending
	to <- b.oldest
}

// Collect implements prometheus.Collector.
func (b *backlog) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout) //nolint:forbidigo // a scrape hands no context to its collectors
	defer cancel()
	count, age := math.NaN(), math.NaN()
	if n, oldest, err := b.counter.CountRecords(ctx, countLimit); err == nil {
		count, age = float64(n), metric.Age(oldest, b.clock.Now())
	}
	to <- prometheus.MustNewConstMetric(b.pending, prometheus.GaugeValue, count)
	to <- prometheus.MustNewConstMetric(b.oldest, prometheus.GaugeValue, age)
}

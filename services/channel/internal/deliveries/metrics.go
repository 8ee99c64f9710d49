package deliveries

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// NewCount returns the count of deliveries by state: queued + requeued =
// delivered + dead + cancelled + erased + those that are pending.
func NewCount() *prometheus.CounterVec {
	count := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_channel_deliveries_total", Help: "Deliveries by state; queued counts all that were made, requeued those that were to be sent again.",
	}, []string{"state"})
	metric.Begin(count, "queued", "requeued", "delivered", "dead", "cancelled", "erased")
	return count
}

// acknowledged is the outcome of an attempt that did not fail; the others are
// webhook's classes.
const acknowledged = "acknowledged"

type metrics struct {
	attempts  *prometheus.CounterVec
	seconds   prometheus.Histogram
	tripped   prometheus.GaugeFunc
	inFlight  prometheus.Gauge
	delivered prometheus.Counter
	dead      prometheus.Counter
}

// newMetrics returns the metrics of a worker. tripped tells how many endpoints
// have an open breaker.
func newMetrics(count *prometheus.CounterVec, tripped func() int) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_channel_delivery_attempts_total", Help: "Attempts to deliver, by what came of them.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "prosa_channel_delivery_attempt_seconds", Help: "Time of one exchange with a receiver.",
			Buckets: prometheus.ExponentialBuckets(0.001, 3, 10), // 1 ms to 20 s
		}),
		tripped: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "prosa_channel_endpoints_tripped", Help: "Endpoints whose breaker is open: this process probes them with one attempt at a time.",
		}, func() float64 { return float64(tripped()) }),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "prosa_channel_deliveries_in_flight", Help: "Lanes that are being delivered from now.",
		}),
		delivered: count.WithLabelValues("delivered"),
		dead:      count.WithLabelValues("dead"),
	}
	metric.Begin(m.attempts, acknowledged)
	for _, class := range webhook.Classes() {
		metric.Begin(m.attempts, string(class))
	}
	return m
}

// word names what came of an attempt.
func word(outcome webhook.Outcome) string {
	if outcome.Acknowledged {
		return acknowledged
	}
	return string(outcome.Err)
}

func (m *metrics) attempted(outcome webhook.Outcome) {
	m.attempts.WithLabelValues(word(outcome)).Inc()
	if outcome.Err != webhook.Canceled {
		m.seconds.Observe(outcome.Duration.Seconds())
	}
}

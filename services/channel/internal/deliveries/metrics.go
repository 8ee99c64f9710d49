package deliveries

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// NewCount returns the count of deliveries by state: queued = delivered + dead
// + cancelled + those that are pending.
func NewCount() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_channel_deliveries_total", Help: "Deliveries by state; queued counts all that were made.",
	}, []string{"state"})
}

type metrics struct {
	attempts  *prometheus.CounterVec
	seconds   prometheus.Histogram
	inFlight  prometheus.Gauge
	delivered prometheus.Counter
	dead      prometheus.Counter
}

func newMetrics(count *prometheus.CounterVec) *metrics {
	return &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_channel_delivery_attempts_total", Help: "Attempts to deliver, by what came of them.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "prosa_channel_delivery_attempt_seconds", Help: "Time of one exchange with a receiver.",
			Buckets: prometheus.ExponentialBuckets(0.001, 3, 10), // 1 ms to 20 s
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "prosa_channel_deliveries_in_flight", Help: "Lanes that are being delivered from now.",
		}),
		delivered: count.WithLabelValues("delivered"),
		dead:      count.WithLabelValues("dead"),
	}
}

func (m *metrics) attempted(outcome webhook.Outcome) {
	word := string(outcome.Err)
	if outcome.Acknowledged {
		word = "acknowledged"
	}
	m.attempts.WithLabelValues(word).Inc()
	if outcome.Err != webhook.Canceled {
		m.seconds.Observe(outcome.Duration.Seconds())
	}
}

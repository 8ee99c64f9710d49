package quota

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

// metrics are the counts of a keeper. None has a label that names a key or an instance.
type metrics struct {
	calls   *prometheus.CounterVec
	isAlone prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_quota_calls_total",
			Help: "Calls that were held against the limits of their key, by kind and result: allowed, refused.",
		}, []string{"kind", "result"}),
		isAlone: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "prosa_quota_alone",
			Help: "1 while the count that all processes share cannot be reached and this process grants each key little by itself.",
		}),
	}
	return m, metric.Register(r, m.calls, m.isAlone)
}

func (m *metrics) judged(kind string, allowed bool) {
	result := "refused"
	if allowed {
		result = "allowed"
	}
	m.calls.WithLabelValues(kind, result).Inc()
}

func (m *metrics) alone(alone bool) {
	value := 0.0
	if alone {
		value = 1
	}
	m.isAlone.Set(value)
}

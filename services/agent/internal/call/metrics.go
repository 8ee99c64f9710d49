package call

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/metric"
)

// Metrics counts calls.
type Metrics struct {
	calls   *prometheus.CounterVec
	seconds prometheus.Histogram
}

// NewMetrics registers prosa_agent_calls_total and prosa_agent_call_seconds; a nil registerer keeps them to itself.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_agent_calls_total", Help: "Calls of flows to other systems by what came of them.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "prosa_agent_call_seconds", Help: "How long calls of flows to other systems took, failed ones included.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
	for _, outcome := range []flow.CallOutcome{
		flow.CallOK, flow.CallStatus, flow.CallTimeout, flow.CallNetwork, flow.CallRefused, flow.CallTooLarge, flow.CallMalformed,
		flow.CallUnsendable, flow.CallSecret,
	} {
		metric.Begin(m.calls, string(outcome))
	}
	return m, metric.Register(registerer, m.calls, m.seconds)
}

func (m *Metrics) observe(outcome flow.CallOutcome, took time.Duration) {
	m.calls.WithLabelValues(string(outcome)).Inc()
	m.seconds.Observe(took.Seconds())
}

package chat

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

// Metrics counts chat messages.
type Metrics struct {
	answered, failed, stopped, full prometheus.Counter
	held                            prometheus.Gauge
}

// NewMetrics registers prosa_agent_chats_total and prosa_agent_chats_held; a nil registerer keeps them to itself.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	chats := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_agent_chats_total", Help: "Chat messages by what became of them: answered, failed, stopped, or refused because the queue was full.",
	}, []string{"outcome"})
	m := &Metrics{
		answered: chats.WithLabelValues("answered"), failed: chats.WithLabelValues("failed"), stopped: chats.WithLabelValues("stopped"),
		full: chats.WithLabelValues("queue_full"),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "prosa_agent_chats_held", Help: "Chat messages in this process that have no answer yet.",
		}),
	}
	return m, metric.Register(registerer, chats, m.held)
}

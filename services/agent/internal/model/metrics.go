package model

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/metric"
)

// Metrics counts what models are asked.
type Metrics struct {
	calls *prometheus.CounterVec
	first prometheus.Histogram
}

// NewMetrics registers prosa_agent_model_calls_total and prosa_agent_model_first_token_seconds; a nil registerer keeps them to itself.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_agent_model_calls_total", Help: "What models were asked, by what came of it.",
		}, []string{"outcome"}),
		first: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "prosa_agent_model_first_token_seconds", Help: "How long models took for their first token.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}),
	}
	return m, metric.Register(registerer, m.calls, m.first)
}

func (m *Metrics) observe(err error, began, first time.Time) {
	m.calls.WithLabelValues(outcome(err)).Inc()
	if !first.IsZero() {
		m.first.Observe(first.Sub(began).Seconds())
	}
}

// outcome is a word of few.
func outcome(err error) string {
	var fault *flow.Fault
	switch {
	case err == nil:
		return "answered"
	case errors.As(err, &fault) && strings.HasPrefix(fault.Reason, reasonStatus):
		return "status"
	case errors.As(err, &fault):
		return fault.Reason
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	default:
		return "failed"
	}
}

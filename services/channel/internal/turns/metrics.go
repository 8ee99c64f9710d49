package turns

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

// Outcomes of a turn, as the metric names them.
const (
	answered    = "answered"    // done; its answer, if any, is queued
	retried     = "retried"     // failed; tried again later
	setAside    = "set_aside"   // failed for good
	interrupted = "interrupted" // the process stops; tried again by the next
	lost        = "lost"        // somebody else took the thread: the result was refused
)

// unstored is why the span of a turn failed whose result the store would not take.
const unstored = "unstored"

type metrics struct {
	turns   *prometheus.CounterVec
	queued  prometheus.Counter
	running prometheus.Gauge
}

func newMetrics(deliveries *prometheus.CounterVec) *metrics {
	m := &metrics{
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_channel_turns_total", Help: "Turns asked of the agent, by what came of them.",
		}, []string{"outcome"}),
		queued: deliveries.WithLabelValues("queued"),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "prosa_channel_turns_running", Help: "Threads that are being worked on now.",
		}),
	}
	metric.Begin(m.turns, answered, retried, setAside, interrupted, lost)
	return m
}

package turn

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// How a turn can end; the values of the label outcome.
const (
	outcomeAnswered    = "answered"        // it ran and is committed
	outcomeRepeated    = "repeated"        // it had run before
	outcomeNotFound    = "agent_not_found" // there is no such agent
	outcomeInvalid     = "invalid"         // the request is malformed
	outcomeUnavailable = "unavailable"     // the caller comes again
	outcomeFailed      = "failed"          // something unexpected
)

func outcomeOf(err error) string {
	switch rpcerr.Code(err) {
	case codes.NotFound:
		return outcomeNotFound
	case codes.InvalidArgument:
		return outcomeInvalid
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return outcomeUnavailable
	default:
		return outcomeFailed
	}
}

// Metrics counts turns.
type Metrics struct {
	outcomes map[string]prometheus.Counter
	seconds  prometheus.Histogram
}

// NewMetrics registers prosa_agent_turns_total and prosa_agent_turn_seconds; a nil registerer keeps them to itself.
func NewMetrics(registerer prometheus.Registerer) (*Metrics, error) {
	turns := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_agent_turns_total", Help: "Turns by how they ended.",
	}, []string{"outcome"})
	m := &Metrics{
		outcomes: make(map[string]prometheus.Counter),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "prosa_agent_turn_seconds", Help: "How long turns took that were answered, the commit included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
	for _, outcome := range []string{
		outcomeAnswered, outcomeRepeated, outcomeNotFound, outcomeInvalid, outcomeUnavailable, outcomeFailed,
	} {
		m.outcomes[outcome] = turns.WithLabelValues(outcome)
	}
	return m, metric.Register(registerer, turns, m.seconds)
}

func (m *Metrics) observe(outcome string, took time.Duration) {
	m.outcomes[outcome].Inc()
	if outcome == outcomeAnswered {
		m.seconds.Observe(took.Seconds())
	}
}

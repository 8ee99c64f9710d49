package gateway

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

// metrics count the answers of each surface.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  [surfaces]prometheus.Observer
	shed     [surfaces]prometheus.Counter
	// accepted is the counter of the busiest answer, looked up once.
	accepted prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_http_requests_total",
		Help: "HTTP requests answered, by surface and status. Status 499: the caller was gone.",
	}, []string{"surface", "status"})}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "prosa_http_seconds",
		Help:    "Seconds from the header of an HTTP request to the end of its answer, by surface.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"surface"})
	shed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_http_shed_total",
		Help: "HTTP requests turned away with 503 and Retry-After because too many were being carried out, by surface.",
	}, []string{"surface"})
	for s := range surfaces {
		m.shed[s] = shed.WithLabelValues(s.String())
		m.seconds[s] = seconds.WithLabelValues(s.String())
	}
	m.accepted = m.requests.WithLabelValues(surfaceAPIChannel.String(), "200")
	return m, metric.Register(registerer, m.requests, seconds, shed)
}

func (m *metrics) observe(s surface, status int, took time.Duration) {
	m.seconds[s].Observe(took.Seconds())
	if s == surfaceAPIChannel && status == 200 {
		m.accepted.Inc()
		return
	}
	m.requests.WithLabelValues(s.String(), strconv.Itoa(status)).Inc()
}

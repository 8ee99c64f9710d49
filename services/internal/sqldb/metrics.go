package sqldb

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

// metrics counts one store's work, exactly and for Prometheus.
type metrics struct {
	commitCount atomic.Int64
	writeCount  atomic.Int64

	commits   prometheus.Counter
	retries   prometheus.Counter
	groupSize prometheus.Observer
	seconds   prometheus.Observer
}

func newMetrics(registerer prometheus.Registerer, service string) (*metrics, error) {
	label := []string{"store"}
	commits, err := metric.Shared(registerer, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_store_commits_total",
		Help: "Transactions committed; on SQLite one fsync each.",
	}, label))
	if err != nil {
		return nil, err
	}
	retries, err := metric.Shared(registerer, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_store_retries_total",
		Help: "Transactions and queries that PostgreSQL asked to be run again, or that lost their connection before the commit.",
	}, label))
	if err != nil {
		return nil, err
	}
	groupSize, err := metric.Shared(registerer, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "prosa_store_group_size",
		Help:    "Writes that shared one commit.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 9), // to maxGroup
	}, label))
	if err != nil {
		return nil, err
	}
	seconds, err := metric.Shared(registerer, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "prosa_store_write_seconds",
		Help:    "Time from the call of a write to its answer.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2.5, 12), // 0.25 ms to 6 s
	}, label))
	if err != nil {
		return nil, err
	}
	return &metrics{
		commits:   commits.WithLabelValues(service),
		retries:   retries.WithLabelValues(service),
		groupSize: groupSize.WithLabelValues(service),
		seconds:   seconds.WithLabelValues(service),
	}, nil
}

// committed counts one commit of a group of writes.
func (m *metrics) committed(writes int) {
	m.commitCount.Add(1)
	m.writeCount.Add(int64(writes))
	m.commits.Inc()
	m.groupSize.Observe(float64(writes))
}

func (m *metrics) wrote(took time.Duration) { m.seconds.Observe(took.Seconds()) }

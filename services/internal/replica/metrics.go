package replica

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

type metrics struct {
	connected, others      prometheus.Gauge
	told, heard, takenBack prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, store string) (*metrics, error) {
	label := []string{"store"}
	connected, err := metric.Shared(registerer, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "prosa_replica_connected",
		Help: "1 while this process hears of the work of others, and they of its death; 0 while the poll and the end of leases do.",
	}, label))
	if err != nil {
		return nil, err
	}
	others, err := metric.Shared(registerer, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "prosa_replica_others",
		Help: "Other processes that share the store and live, as this one sees it.",
	}, label))
	if err != nil {
		return nil, err
	}
	counters := make([]prometheus.Counter, 3)
	for i, options := range []prometheus.CounterOpts{
		{Name: "prosa_replica_notifications_sent_total", Help: "Notifications by which other processes were told of work."},
		{Name: "prosa_replica_notifications_heard_total", Help: "Notifications of other processes."},
		{Name: "prosa_replica_deaths_total", Help: "Processes that died and whose leases this one took back."},
	} {
		counter, err := metric.Shared(registerer, prometheus.NewCounterVec(options, label))
		if err != nil {
			return nil, err
		}
		counters[i] = counter.WithLabelValues(store)
	}
	return &metrics{
		connected: connected.WithLabelValues(store), others: others.WithLabelValues(store),
		told: counters[0], heard: counters[1], takenBack: counters[2],
	}, nil
}

package contacts

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

// metrics are the service's counts. None has a label that names a person or an instance.
type metrics struct {
	opened       *prometheus.CounterVec
	turns        *prometheus.CounterVec
	imported     *prometheus.CounterVec
	queries      *prometheus.CounterVec
	eventQueries *prometheus.CounterVec
}

// The values of the labels.
const (
	resultNew      = "new"
	resultRepeated = "repeated"
	resultUnknown  = "unknown" // of no attendance; nothing was stored
	pageFirst      = "first"
	pageNext       = "next"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		opened: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_contacts_attendances_opened_total",
			Help: "Requests to open an attendance that were answered, by result: new, repeated.",
		}, []string{"result"}),
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_contacts_turns_total",
			Help: "Turns that were handed over, by result: new and repeated are on disk, unknown are of no attendance.",
		}, []string{"result"}),
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_contacts_queries_total",
			Help: "Pages of attendances given, by page: first, next.",
		}, []string{"page"}),
		imported: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_contacts_attendances_imported_total",
			Help: "Attendances of other systems that are on disk after an import, by result: new, repeated.",
		}, []string{"result"}),
		eventQueries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_contacts_event_queries_total",
			Help: "Pages of events given, by page: first, next.",
		}, []string{"page"}),
	}
	for _, result := range []string{resultNew, resultRepeated} {
		m.opened.WithLabelValues(result)
		m.turns.WithLabelValues(result)
		m.imported.WithLabelValues(result)
	}
	m.turns.WithLabelValues(resultUnknown)
	for _, page := range []string{pageFirst, pageNext} {
		m.queries.WithLabelValues(page)
		m.eventQueries.WithLabelValues(page)
	}
	return m, metric.Register(r, m.opened, m.turns, m.imported, m.queries, m.eventQueries)
}

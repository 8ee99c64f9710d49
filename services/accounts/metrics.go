package accounts

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

// metrics are the service's counts. None has a label that names a person, a key or an instance.
type metrics struct {
	verifications *prometheus.CounterVec
}

// The results of a verification.
const (
	resultRoot    = "root"
	resultKey     = "key"
	resultRefused = "refused"
	resultError   = "error"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{verifications: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "prosa_accounts_key_verifications_total",
		Help: "Keys that services asked about, by result: root, key, refused, error.",
	}, []string{"result"})}
	for _, result := range []string{resultRoot, resultKey, resultRefused, resultError} {
		m.verifications.WithLabelValues(result)
	}
	return m, metric.Register(r, m.verifications)
}

package metric_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/metric"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func counter(name string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: "A count."})
}

func names(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	var names []string
	for _, family := range families {
		names = append(names, family.GetName())
	}
	return names
}

func TestRegister(t *testing.T) {
	registry := prometheus.NewRegistry()
	require.NoError(t, metric.Register(registry))
	require.NoError(t, metric.Register(registry, counter("a"), counter("b")))
	err := metric.Register(registry, counter("a"), counter("c"), counter("b"))
	var already prometheus.AlreadyRegisteredError
	require.ErrorAs(t, err, &already)
	require.Equal(t, []string{"a", "b", "c"}, names(t, registry))
	require.NoError(t, metric.Register(nil, counter("a")), "nobody asks")
}

func TestBegin(t *testing.T) {
	counted := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "a", Help: "A count."}, []string{"outcome"})
	metric.Begin(counted, "good", "bad")
	require.Equal(t, 2, testutil.CollectAndCount(counted))
	require.Zero(t, testutil.ToFloat64(counted.WithLabelValues("good")))
}

func TestShared(t *testing.T) {
	registry := prometheus.NewRegistry()
	first, err := metric.Shared(registry, counter("a"))
	require.NoError(t, err)
	second, err := metric.Shared(registry, counter("a"))
	require.NoError(t, err)
	require.Same(t, first, second)

	_, err = metric.Shared(registry, prometheus.NewGauge(prometheus.GaugeOpts{Name: "a", Help: "Another help."}))
	require.Error(t, err, "the same name for something else")
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "a", Help: "A count."}, nil)
	_, err = metric.Shared(registry, gauge)
	require.Error(t, err, "the same description of another kind")

	own, err := metric.Shared(nil, counter("a"))
	require.NoError(t, err)
	require.NotSame(t, first, own)
}

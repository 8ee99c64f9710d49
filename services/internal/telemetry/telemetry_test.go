package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/prosa-chat/prosa/services/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOneRecordIsOneHarmlessLine(t *testing.T) {
	evil := "ok\r\nlevel=ERROR msg=\"forged\"\x1b[2J\x07\x00\u009b31m\x7f\u202egnp.exe\u2066"
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			var b bytes.Buffer
			logger, err := telemetry.NewLogger(&b, "info", format)
			require.NoError(t, err)
			logger.Info(evil, "value", evil, "error", errors.New(evil), slog.Group("group", "inner", evil))
			out := b.String()
			require.Equal(t, 1, strings.Count(out, "\n"))
			require.True(t, strings.HasSuffix(out, "\n"))
			for _, r := range strings.TrimSuffix(out, "\n") {
				require.False(t, r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e || r == 0x2066, "%q in %q", r, out)
			}
		})
	}
}

func TestLoggerFormIsPinned(t *testing.T) {
	var b bytes.Buffer
	logger, err := telemetry.NewLogger(&b, "DEBUG", "JSON")
	require.NoError(t, err)
	logger.Debug("message", "n", 1, "error", errors.New("x"))
	var line map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &line))
	require.Equal(t, "DEBUG", line["level"])
	require.Equal(t, "message", line["msg"])
	require.Equal(t, "x", line["error"])
	at, err := time.Parse(time.RFC3339Nano, line["time"].(string))
	require.NoError(t, err)
	require.Equal(t, time.UTC, at.Location())
}

func TestLoggerLevels(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		var b bytes.Buffer
		logger, err := telemetry.NewLogger(&b, level, "text")
		require.NoError(t, err)
		logger.Debug("x")
		logger.Info("x")
		logger.Warn("x")
		logger.Error("x")
		require.Equal(t, want, strings.Count(b.String(), "\n"), level)
	}
	_, err := telemetry.NewLogger(nil, "loud", "text")
	require.ErrorContains(t, err, "log level")
	_, err = telemetry.NewLogger(nil, "info", "xml")
	require.ErrorContains(t, err, "log format")
}

func TestRegistryHasProcessAndBuild(t *testing.T) {
	families, err := telemetry.NewRegistry().Gather()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, family := range families {
		names[family.GetName()] = true
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "process_open_fds", "go_build_info"} {
		require.True(t, names[name], name)
	}
}

func TestTracingWithoutEndpoint(t *testing.T) {
	tracing, err := telemetry.NewTracerProvider(t.Context(), "", "prosa", "1", 1)
	require.NoError(t, err)
	require.False(t, tracing.Enabled)
	require.IsType(t, noop.TracerProvider{}, tracing.Provider)
	require.NoError(t, tracing.Shutdown(t.Context()))
}

func TestTracingRefusesNonsense(t *testing.T) {
	for _, endpoint := range []string{"ftp://host:1", "http://", "://", "http://\x00", "collector", ":4317", "collector:", "http//collector"} {
		_, err := telemetry.NewTracerProvider(t.Context(), endpoint, "prosa", "1", 1)
		require.Error(t, err, endpoint)
	}
}

// collector is an OTLP receiver.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []string
}

func (c *collector) Export(_ context.Context, in *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range in.GetResourceSpans() {
		service := ""
		for _, attr := range resource.GetResource().GetAttributes() {
			if attr.GetKey() == "service.name" {
				service = attr.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, service+"/"+span.GetName())
			}
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func TestTracingSendsByOTLP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	got, server := &collector{}, grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, got)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		require.NoError(t, <-served)
	}()
	for _, endpoint := range []string{listener.Addr().String(), "http://" + listener.Addr().String()} {
		tracing, err := telemetry.NewTracerProvider(t.Context(), endpoint, "prosa-agent", "1", 1)
		require.NoError(t, err)
		require.True(t, tracing.Enabled)
		_, span := tracing.Provider.Tracer("test").Start(t.Context(), "turn")
		span.End()
		require.NoError(t, tracing.Shutdown(t.Context()))
	}
	require.Equal(t, []string{"prosa-agent/turn", "prosa-agent/turn"}, got.spans)
}

func TestTracingStartsWithoutACollector(t *testing.T) {
	tracing, err := telemetry.NewTracerProvider(t.Context(), "127.0.0.1:1", "prosa", "1", 1)
	require.NoError(t, err)
	require.NoError(t, tracing.Shutdown(t.Context()))
}

// meter takes metrics by OTLP.
type meter struct {
	metricspb.UnimplementedMetricsServiceServer
	mu     sync.Mutex
	values map[string]float64 // by service, instance and name
}

func (m *meter) Export(_ context.Context, in *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, resource := range in.GetResourceMetrics() {
		of := map[string]string{}
		for _, attr := range resource.GetResource().GetAttributes() {
			of[attr.GetKey()] = attr.GetValue().GetStringValue()
		}
		for _, scope := range resource.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				for _, point := range metric.GetSum().GetDataPoints() {
					m.values[of["service.name"]+"/"+of["service.instance.id"]+"/"+metric.GetName()] += point.GetAsDouble()
				}
			}
		}
	}
	return &metricspb.ExportMetricsServiceResponse{}, nil
}

func TestMetricsAreSentByOTLP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	got, server := &meter{values: map[string]float64{}}, grpc.NewServer()
	metricspb.RegisterMetricsServiceServer(server, got)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		require.NoError(t, <-served)
	}()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "prosa_test_total"})
	registry.MustRegister(counter)
	counter.Add(3)
	shutdown, err := telemetry.SendMetrics(t.Context(), listener.Addr().String(), "prosa", "one", registry)
	require.NoError(t, err)
	require.NoError(t, shutdown(t.Context()), "what was counted last is sent at the end")
	require.Equal(t, map[string]float64{"prosa/one/prosa_test_total": 3}, got.values)

	shutdown, err = telemetry.SendMetrics(t.Context(), "", "prosa", "one", registry)
	require.NoError(t, err)
	require.NoError(t, shutdown(t.Context()))
	_, err = telemetry.SendMetrics(t.Context(), "ftp://collector", "prosa", "one", registry)
	require.Error(t, err)
}

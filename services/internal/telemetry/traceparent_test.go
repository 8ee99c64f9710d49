package telemetry_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/prosa-chat/prosa/services/internal/telemetry"
)

const (
	sampledParent   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampledParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestTraceparent(t *testing.T) {
	require.Empty(t, telemetry.Traceparent(trace.SpanContext{}))
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0x0a, 15: 0xff}, SpanID: trace.SpanID{0xb7, 7: 1}})
	require.Empty(t, telemetry.Traceparent(span), "not sampled")
	span = span.WithTraceFlags(trace.FlagsSampled)
	require.Equal(t, "00-0a0000000000000000000000000000ff-b700000000000001-01", telemetry.Traceparent(span))

	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(t.Context(), span), carrier)
	require.Equal(t, carrier["traceparent"], telemetry.Traceparent(span), "as the library writes it")
	read := trace.SpanContextFromContext(telemetry.WithParent(t.Context(), telemetry.Traceparent(span)))
	require.True(t, read.IsRemote())
	require.Equal(t, span, read.WithRemote(false))
}

func TestParents(t *testing.T) {
	for value, want := range map[string]struct{ own, strange string }{
		sampledParent:   {sampledParent, sampledParent},
		unsampledParent: {unsampledParent, sampledParent},
		"cc" + strings.TrimPrefix(sampledParent, "00"): {sampledParent, sampledParent}, // of a later version
		"":                             {},
		"00":                           {},
		sampledParent + "-x":           {},
		strings.ToUpper(sampledParent): {},
		"ff" + sampledParent[2:]:       {},
		"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01":                 {},
		"00-0af7651916cd43dd8448eb211c80319c-" + strings.Repeat("0", 16) + "-01": {},
	} {
		require.Equal(t, want.own, injected(telemetry.WithParent(t.Context(), value)), value)
		require.Equal(t, want.strange, injected(telemetry.WithStranger(t.Context(), value)), value)
	}
}

func TestAStrangerCannotChangeATraceOfOurs(t *testing.T) {
	ours := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	require.Equal(t, ours, telemetry.WithStranger(ours, "nonsense"))
}

func TestWithoutTrace(t *testing.T) {
	ctx := telemetry.WithoutTrace(t.Context(), "64a1b2c3d4e5f6a7b8c9d0e1")
	require.Equal(t, "00-0000000064a1b2c3d4e5f6a7b8c9d0e1-d4e5f6a7b8c9d0e1-00", injected(ctx))
	for _, id := range []string{"", "64a1b2c3d4e5f6a7b8c9d0e", "64a1b2c3d4e5f6a7b8c9d0e100", "64a1b2c3d4e5f6a7b8c9d0eg", strings.Repeat("ab", 40)} {
		require.Equal(t, t.Context(), telemetry.WithoutTrace(t.Context(), id), id)
	}
}

// injected is what a call made with ctx says of its trace.
func injected(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

package tracing

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const accepted = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

var (
	message = store.Message{
		ThreadKey: store.ThreadKey{Instance: "acme", ChannelID: "64a1b2c3d4e5f6a7b8c9d0e1", ClientIdentifier: "5511999990000"},
		ID:        "64a1b2c3d4e5f6a7b8c9d0e2", Text: "meu cpf", Trace: accepted,
	}
	delivery = store.Delivery{
		LaneKey: store.LaneKey{Instance: "acme", EndpointID: "64a1b2c3d4e5f6a7b8c9d0e1", InteractionID: "64a1b2c3d4e5f6a7b8c9d0e3"},
		ID:      "64a1b2c3d4e5f6a7b8c9d0e4", AttemptCount: 2, Trace: accepted,
	}
)

func recording() (*Tracer, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	return New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))), spans
}

// path is what tracing adds to the way of one message.
func path(ctx context.Context, t *Tracer, m *store.Message, d *store.Delivery) {
	m.Trace = t.Accepted(ctx)
	_, turn := t.Turn(ctx, m)
	d.Trace = turn.Traceparent()
	turn.Failed("INTERNAL")
	turn.End()
	attempt := t.Attempt(ctx, d)
	_ = attempt.Traceparent()
	attempt.End(200, "acknowledged", false)
}

func TestNobodyTracesAtNoCost(t *testing.T) {
	require.Nil(t, New(nil))
	require.Nil(t, New(noop.NewTracerProvider()))
	// Also when the caller is in a trace of its own.
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
	m, d := message, delivery
	require.Zero(t, testing.AllocsPerRun(100, func() { path(ctx, nil, &m, &d) }))
	require.Empty(t, m.Trace)
	require.Empty(t, d.Trace)
	got, _ := (*Tracer)(nil).Turn(ctx, &m)
	require.Equal(t, ctx, got)
}

func TestADeliveryThatNobodyTracesCostsNothing(t *testing.T) {
	tracer, spans := recording()
	d := delivery
	d.Trace = ""
	require.Zero(t, testing.AllocsPerRun(100, func() {
		attempt := tracer.Attempt(t.Context(), &d)
		_ = attempt.Traceparent()
		attempt.End(500, "status", true)
	}))
	require.Empty(t, spans.Started())
}

func TestAcceptedIsTheSpanOfTheCall(t *testing.T) {
	tracer, _ := recording()
	require.Empty(t, tracer.Accepted(t.Context()))
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	require.Empty(t, tracer.Accepted(trace.ContextWithSpanContext(t.Context(), span)), "not sampled")
	span = span.WithTraceFlags(trace.FlagsSampled)
	require.Equal(t, "00-01000000000000000000000000000000-0200000000000000-01", tracer.Accepted(trace.ContextWithSpanContext(t.Context(), span)))
}

func TestTurn(t *testing.T) {
	tracer, spans := recording()
	ctx, turn := tracer.Turn(t.Context(), &message)
	require.Equal(t, trace.SpanContextFromContext(ctx).SpanID().String(), turn.Traceparent()[36:52])
	turn.Failed("UNAVAILABLE")
	turn.End()
	span := spans.Ended()[0]
	require.Equal(t, "prosa.channel.turn", span.Name())
	require.Equal(t, trace.SpanKindConsumer, span.SpanKind())
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", span.SpanContext().TraceID().String())
	require.Equal(t, "b7ad6b7169203331", span.Parent().SpanID().String())
	require.Equal(t, "Error", span.Status().Code.String())
	require.Equal(t, []attribute.KeyValue{
		attribute.String("prosa.endpoint_id", message.ChannelID), attribute.String("prosa.message_id", message.ID),
		attribute.String("prosa.reason", "UNAVAILABLE"),
	}, span.Attributes(), "neither what was said nor who said it")
}

func TestTheTurnOfAMessageThatNobodyTracesIsInNoTrace(t *testing.T) {
	tracer, spans := recording()
	m := message
	m.Trace = ""
	ctx, turn := tracer.Turn(t.Context(), &m)
	turn.End()
	require.Empty(t, turn.Traceparent())
	parent := trace.SpanContextFromContext(ctx)
	require.True(t, parent.IsValid())
	require.False(t, parent.IsSampled(), "the agent is told, and makes no span either")
	require.Equal(t, "00000000"+m.ID, parent.TraceID().String())
	require.Empty(t, tracer.Accepted(ctx))
	require.Empty(t, spans.Started())
}

func TestAttempt(t *testing.T) {
	tracer, spans := recording()
	attempt := tracer.Attempt(t.Context(), &delivery)
	sent := attempt.Traceparent()
	attempt.End(503, "status", true)
	tracer.Attempt(t.Context(), &delivery).End(0, "timeout", true)
	tracer.Attempt(t.Context(), &delivery).End(200, "acknowledged", false)
	all := spans.Ended()
	require.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-"+all[0].SpanContext().SpanID().String()+"-01", sent)
	for i, want := range []struct {
		code string
		last []attribute.KeyValue
	}{
		{"Error", []attribute.KeyValue{attribute.String("prosa.outcome", "status"), attribute.Int("http.response.status_code", 503)}},
		{"Error", []attribute.KeyValue{attribute.String("prosa.outcome", "timeout")}},
		{"Unset", []attribute.KeyValue{attribute.String("prosa.outcome", "acknowledged"), attribute.Int("http.response.status_code", 200)}},
	} {
		span := all[i]
		require.Equal(t, "prosa.channel.delivery", span.Name())
		require.Equal(t, trace.SpanKindClient, span.SpanKind())
		require.Equal(t, "b7ad6b7169203331", span.Parent().SpanID().String(), "retries are siblings")
		require.Equal(t, want.code, span.Status().Code.String())
		require.Equal(t, append([]attribute.KeyValue{
			attribute.String("http.request.method", "POST"), attribute.String("prosa.endpoint_id", delivery.EndpointID),
			attribute.String("prosa.delivery_id", delivery.ID), attribute.Int("prosa.attempt", 3),
		}, want.last...), span.Attributes())
	}
}

// discarded is an exporter that keeps nothing.
type discarded struct{}

func (discarded) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (discarded) Shutdown(context.Context) error                             { return nil }

// BenchmarkPath is what tracing adds to the way of one message whose answer is
// acknowledged at once: two spans, and two traceparents to be stored.
func BenchmarkPath(b *testing.B) {
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(discarded{}))
	defer func() { require.NoError(b, provider.Shutdown(context.Background())) }()
	for name, tracer := range map[string]*Tracer{"off": nil, "on": New(provider)} {
		b.Run(name, func(b *testing.B) {
			ctx, span := provider.Tracer("call").Start(b.Context(), "accept")
			defer span.End()
			m, d := message, delivery
			b.ReportAllocs()
			for b.Loop() {
				path(ctx, tracer, &m, &d)
			}
		})
	}
}

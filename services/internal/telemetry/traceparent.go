package telemetry

import (
	"context"
	"encoding/hex"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// HeaderTraceparent names the header that carries a trace from one process to the next (W3C Trace Context, section 3.2), in the form
// in which [net/http.Header] keeps it.
const HeaderTraceparent = "Traceparent"

// metadataTraceparent is the same name in gRPC metadata, and for the propagator.
const metadataTraceparent = "traceparent"

// traceparentLength is that of "00-", 32 hex digits, "-", 16 hex digits, "-01".
const traceparentLength = 55

// Traceparent is the value of the header traceparent for work that a span has caused; "" for a span that is not sampled, for then
// there is no trace to be part of.
func Traceparent(span trace.SpanContext) string {
	if !span.IsValid() || !span.IsSampled() {
		return ""
	}
	traceID, spanID := span.TraceID(), span.SpanID()
	value := make([]byte, 0, traceparentLength)
	value = append(value, "00-"...)
	value = hex.AppendEncode(value, traceID[:])
	value = append(value, '-')
	value = hex.AppendEncode(value, spanID[:])
	return string(append(value, "-01"...))
}

// WithParent makes the span of a traceparent, which Prosa itself wrote, the parent of what is done with ctx. It returns ctx as it is
// if the value is none. A tracestate does not come along: it is for the tools of whoever sent it.
func WithParent(ctx context.Context, traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, carrier(traceparent))
}

// WithStranger is WithParent for a traceparent whose sender nobody vouches for. A stranger can name the trace and the parent, so that
// what Prosa does shows up in the trace of who asked for it. Whether it is recorded is not the stranger's to say: the flag that says
// so is set, whatever it was, and the sampler of [NewTracerProvider] then decides by the trace's id as it does for a new one.
func WithStranger(ctx context.Context, traceparent string) context.Context {
	ctx = WithParent(ctx, traceparent)
	parent := trace.SpanContextFromContext(ctx)
	if !parent.IsRemote() || parent.IsSampled() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, parent.WithTraceFlags(parent.TraceFlags()|trace.FlagsSampled))
}

// WithoutTrace makes what is done with ctx, in other processes too, part of no trace. id is that of the work, 24 hex digits; it stands
// in the log where the trace's would.
func WithoutTrace(ctx context.Context, id string) context.Context {
	const idLength = 12
	var (
		traceID trace.TraceID
		spanID  trace.SpanID
	)
	if hex.DecodedLen(len(id)) != idLength {
		return ctx
	}
	if _, err := hex.Decode(traceID[len(traceID)-idLength:], []byte(id)); err != nil {
		return ctx
	}
	copy(spanID[:], traceID[len(traceID)-len(spanID):])
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID}))
}

// carrier hands the propagator one header.
type carrier string

func (c carrier) Get(name string) string {
	if name == metadataTraceparent {
		return string(c)
	}
	return ""
}

func (carrier) Set(string, string) {}

func (carrier) Keys() []string { return []string{metadataTraceparent} }

package gateway

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/prosa-chat/prosa/services/internal/telemetry"
)

// startSpan begins the span of a request, a child of the one that the caller named (W3C Trace Context), and gives what ends it. The
// caller does not decide whether the trace is kept, and its tracestate stays outside. Without tracing startSpan does nothing.
func (g *Gateway) startSpan(c *call) (context.Context, func(*call)) {
	ctx := c.request.Context()
	if g.tracer == nil {
		return ctx, func(*call) {}
	}
	if named := c.request.Header[telemetry.HeaderTraceparent]; len(named) == 1 {
		ctx = telemetry.WithStranger(ctx, named[0])
	}
	ctx, span := g.tracer.Start(ctx, c.request.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", c.request.Method),
		attribute.String("prosa.surface", c.surface.String()),
		attribute.String("prosa.request_id", c.requestID),
	))
	return ctx, func(c *call) {
		if c.binding != nil {
			span.SetName(c.request.Method + " " + c.binding.pattern)
			span.SetAttributes(attribute.String("http.route", c.binding.pattern))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", c.writer.status))
		if c.writer.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// injectSpan makes the request's span the parent of what the services do, instead of what the caller named.
func (g *Gateway) injectSpan(ctx context.Context, header http.Header) {
	if g.tracer != nil {
		delete(header, "Tracestate")
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	}
}

package gateway

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// startSpan begins the span of a request, a child of the one that the caller sent (W3C Trace Context), and gives what ends it.
// Without tracing it does nothing.
func (g *Gateway) startSpan(c *call) (context.Context, func(*call)) {
	ctx := c.request.Context()
	if g.tracer == nil {
		return ctx, func(*call) {}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(c.request.Header))
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

// injectSpan makes the request's span the parent of what the services do.
func (g *Gateway) injectSpan(ctx context.Context, header http.Header) {
	if g.tracer != nil {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	}
}

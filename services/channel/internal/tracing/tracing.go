// Package tracing makes the spans of what happens to a message after it was
// accepted: its turn, and the attempts to deliver the answer. They belong to the
// trace of the call that brought the message, which is stored with it and with
// its deliveries, so that it goes on in another process, or after days of retries.
//
// A nil *Tracer makes none, and costs nothing.
package tracing

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/telemetry"
)

// The names of the spans.
const (
	turnSpan    = "prosa.channel.turn"
	attemptSpan = "prosa.channel.delivery"
)

// Tracer makes spans.
type Tracer struct{ tracer trace.Tracer }

// New returns a tracer, nil for a provider that is nil or keeps nothing.
func New(provider trace.TracerProvider) *Tracer {
	if _, none := provider.(noop.TracerProvider); provider == nil || none {
		return nil
	}
	return &Tracer{tracer: provider.Tracer("github.com/prosa-chat/prosa/services/channel")}
}

// Accepted is what is stored with a message that the call of ctx brought: the
// call's traceparent, "" if the call is in no trace.
func (t *Tracer) Accepted(ctx context.Context) string {
	if t == nil {
		return ""
	}
	return telemetry.Traceparent(trace.SpanContextFromContext(ctx))
}

// Turn begins the span of one try to have a message answered. What is done with
// the context that it returns belongs to it; for a message that is in no trace,
// that is in none either.
func (t *Tracer) Turn(ctx context.Context, m *store.Message) (context.Context, Turn) {
	if t == nil {
		return ctx, Turn{}
	}
	if m.Trace == "" {
		return telemetry.WithoutTrace(ctx, m.ID), Turn{}
	}
	ctx, span := t.tracer.Start(telemetry.WithParent(ctx, m.Trace), turnSpan, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("prosa.endpoint_id", m.ChannelID),
		attribute.String("prosa.message_id", m.ID),
	))
	return ctx, Turn{span}
}

// Turn is the span of a turn; the zero value is none.
type Turn struct{ span trace.Span }

// Traceparent is what is stored with the deliveries of the answer.
func (t Turn) Traceparent() string {
	if t.span == nil {
		return ""
	}
	return telemetry.Traceparent(t.span.SpanContext())
}

// Failed notes why the try failed, in a stable word.
func (t Turn) Failed(reason string) {
	if t.span != nil {
		t.span.SetAttributes(attribute.String("prosa.reason", reason))
		t.span.SetStatus(codes.Error, reason)
	}
}

// End ends the span.
func (t Turn) End() {
	if t.span != nil {
		t.span.End()
	}
}

// Attempt begins the span of an attempt to deliver. Attempts of one delivery are
// siblings.
func (t *Tracer) Attempt(ctx context.Context, d *store.Delivery) Attempt {
	if t == nil || d.Trace == "" {
		return Attempt{}
	}
	_, span := t.tracer.Start(telemetry.WithParent(ctx, d.Trace), attemptSpan, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", http.MethodPost),
		attribute.String("prosa.endpoint_id", d.EndpointID),
		attribute.String("prosa.delivery_id", d.ID),
		attribute.Int("prosa.attempt", d.AttemptCount+1),
	))
	return Attempt{span}
}

// Attempt is the span of an attempt; the zero value is none.
type Attempt struct{ span trace.Span }

// Traceparent is what the receiver gets to make its work part of the trace.
func (a Attempt) Traceparent() string {
	if a.span == nil {
		return ""
	}
	return telemetry.Traceparent(a.span.SpanContext())
}

// End ends the span with what came of the attempt: the receiver's status, 0 if
// there was no answer, and the outcome in a stable word. failed says that this
// was a failure.
func (a Attempt) End(status int, outcome string, failed bool) {
	if a.span == nil {
		return
	}
	a.span.SetAttributes(attribute.String("prosa.outcome", outcome))
	if status != 0 {
		a.span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if failed {
		a.span.SetStatus(codes.Error, outcome)
	}
	a.span.End()
}

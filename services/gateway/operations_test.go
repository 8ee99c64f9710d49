package gateway

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestHealth(t *testing.T) {
	var problems []Problem
	h := newHarness(t, Config{}, func(d *Deps) { d.Ready = func(context.Context) []Problem { return problems } })
	got := h.do(t, "GET", "/livez", "")
	require.Equal(t, 200, got.status)
	require.Equal(t, "ok", got.body)
	got = h.do(t, "GET", "/readyz", "")
	require.Equal(t, 200, got.status)
	require.Equal(t, `{"status":"ok"}`, got.body)
	problems = []Problem{{Component: "channel", Missing: "the schema is older than this binary", Remedy: "prosa migrate"}, {Component: "agent", Missing: "no answer"}}
	got = h.do(t, "GET", "/readyz", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, `{"status":"unavailable","problems":[{"component":"channel","missing":"the schema is older than this binary","remedy":"prosa migrate"},`+
		`{"component":"agent","missing":"no answer","remedy":""}]}`, got.body)
	require.Equal(t, 200, h.do(t, "GET", "/livez", "").status)
}

func TestPages(t *testing.T) {
	h := newHarness(t, Config{})
	for path, contentType := range map[string]string{
		"/openapi.json": "application/json", "/docs": "text/html; charset=utf-8", "/docs/page.js": "text/javascript; charset=utf-8",
		"/docs/page.css": "text/css; charset=utf-8", "/livez": "text/plain; charset=utf-8", "/readyz": "application/json",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			got := h.do(t, method, path, "")
			require.Equal(t, 200, got.status)
			require.Equal(t, contentType, got.header.Get("Content-Type"))
			require.NotEmpty(t, got.header.Get("X-Request-Id"))
			require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
			require.Equal(t, method == "GET", got.body != "")
		}
		for _, method := range []string{"POST", "OPTIONS", "DELETE"} {
			got := h.do(t, method, path, "")
			require.Equal(t, 405, got.status)
			require.Equal(t, "GET, HEAD", got.header.Get("Allow"))
			require.Contains(t, got.body, `"title":"Method Not Allowed"`)
		}
	}
	page := h.do(t, "GET", "/docs", "")
	require.Contains(t, page.header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'")
	require.NotContains(t, page.header.Get("Content-Security-Policy"), "unsafe")
	require.NotContains(t, page.body, "//") // nothing from elsewhere
}

func TestNewRefusesWhatIsMissing(t *testing.T) {
	_, err := New(Config{}, Deps{})
	require.EqualError(t, err, "build gateway: a connection is missing")
	c := failing{}
	_, err = New(Config{}, Deps{Accounts: c, Channel: c, Agent: c, Contacts: c, Clock: clock.System()})
	require.EqualError(t, err, "build gateway: a dependency is missing")
}

func TestSpans(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	h := newHarness(t, Config{}, func(d *Deps) { d.Tracing = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)) })
	h.post(t, goodMessage, "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	require.Eventually(t, func() bool { return len(spans.Ended()) == 1 }, 5*time.Second, time.Millisecond)
	span := spans.Ended()[0]
	require.Equal(t, "POST /webhooks/api", span.Name())
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", span.SpanContext().TraceID().String())
	require.Equal(t, "b7ad6b7169203331", span.Parent().SpanID().String())
	require.Contains(t, span.Attributes(), attribute.Int("http.response.status_code", 200))
	require.Contains(t, span.Attributes(), attribute.String("http.route", "/webhooks/api"))
	md, _, _ := h.fakes.seen()
	require.Equal(t, []string{"00-0af7651916cd43dd8448eb211c80319c-" + span.SpanContext().SpanID().String() + "-01"}, md.Get("traceparent"))
}

func TestACallerDoesNotDecideWhatIsTraced(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	h := newHarness(t, Config{}, func(d *Deps) { d.Tracing = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)) })
	for i, sent := range []string{
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "Traceparent: nonsense", "Traceparent: ",
	} {
		h.post(t, goodMessage, sent, "Tracestate: ot=th:fff,vendor=x")
		require.Eventually(t, func() bool { return len(spans.Ended()) == i+1 }, 5*time.Second, time.Millisecond)
		span := spans.Ended()[i]
		require.True(t, span.SpanContext().IsSampled())
		require.Zero(t, span.SpanContext().TraceState().Len())
		require.Equal(t, i == 0, span.Parent().IsValid())
		md, _, _ := h.fakes.seen()
		require.Equal(t, []string{"00-" + span.SpanContext().TraceID().String() + "-" + span.SpanContext().SpanID().String() + "-01"}, md.Get("traceparent"))
		require.Empty(t, md.Get("tracestate"))
	}
}

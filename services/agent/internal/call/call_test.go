package call_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/prosa-chat/prosa/services/agent/internal/call"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/request"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// secrets has one secret, of acme.
type secrets struct{ value string }

func (s secrets) Secret(_ context.Context, instance, name string) (string, error) {
	if instance != "acme" || name != "erp" {
		return "", errors.New("no such secret")
	}
	return s.value, nil
}

type fixture struct {
	*call.Caller
	metrics *prometheus.Registry
	log     *bytes.Buffer
}

func newFixture(t *testing.T, guard *egress.Guard) *fixture {
	t.Helper()
	f := &fixture{metrics: prometheus.NewRegistry(), log: &bytes.Buffer{}}
	metrics, err := call.NewMetrics(f.metrics)
	require.NoError(t, err)
	f.Caller = call.NewCaller(call.Deps{
		Guard: guard, Secrets: secrets{"hush-hush"}, Clock: clock.System(), Logger: slog.New(slog.NewJSONHandler(f.log, nil)),
		Tracer: noop.NewTracerProvider().Tracer(""), Metrics: metrics, Version: "1.2.3",
	})
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		require.NoError(t, f.Run(ended))
	})
	return f
}

// loopback lets the servers of these tests be called.
func loopback() *egress.Guard {
	return egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true)
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func get(url string) *flow.CallRequest {
	return &flow.CallRequest{
		Request:  request.Request{Method: "GET", URL: url, Timeout: 10 * time.Second},
		Instance: "acme", AgentID: "a1", TurnID: "m1", Node: "lookup", Number: 1,
	}
}

func TestAnswers(t *testing.T) {
	atLimit := strings.Repeat("a", call.MaxAnswer)
	deep := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	number := structpb.NewNumberValue
	for name, c := range map[string]struct {
		status            int
		kind, encoding    string
		body              string
		outcome           flow.CallOutcome
		value             *structpb.Value
		nothing, redirect bool
	}{
		"JSON":                  {kind: "application/json", body: `{"status":"shipped","n":1.5}`, value: object("status", "shipped", "n", 1.5)},
		"JSON of another kind":  {kind: "application/vnd.api+json; charset=utf-8", body: `1`, value: number(1)},
		"JSON, created":         {status: 201, kind: "Application/JSON", body: `"é"`, value: structpb.NewStringValue("é")},
		"JSON null":             {kind: "application/json", body: `null`, value: structpb.NewNullValue()},
		"text":                  {kind: "text/plain; charset=utf-8", body: "olá", value: structpb.NewStringValue("olá")},
		"text that looks right": {kind: "text/html", body: `{"a":1}`, value: structpb.NewStringValue(`{"a":1}`)},
		"text of no kind":       {kind: "/", body: "a\x00b\xff", value: structpb.NewStringValue("ab\uFFFD")},
		"nothing":               {kind: "application/json", body: "", nothing: true},
		"no content":            {status: 204, nothing: true},
		"at the limit":          {kind: "text/plain", body: atLimit, value: structpb.NewStringValue(atLimit)},
		"past the limit":        {kind: "text/plain", body: atLimit + "a", outcome: flow.CallTooLarge},
		"broken JSON":           {kind: "application/json", body: `{"a":`, outcome: flow.CallMalformed},
		"two JSONs":             {kind: "application/json", body: `1 2`, outcome: flow.CallMalformed},
		"a name twice":          {kind: "application/json", body: `{"a":1,"a":2}`, outcome: flow.CallMalformed},
		"JSON that is no UTF-8": {kind: "application/json", body: "\"\xff\"", outcome: flow.CallMalformed},
		"deep JSON":             {kind: "application/json", body: deep(32), value: nested(32)},
		"too deep JSON":         {kind: "application/json", body: deep(33), outcome: flow.CallMalformed},
		"compressed":            {kind: "application/json", encoding: "gzip", body: "\x1f\x8b", outcome: flow.CallMalformed},
		"identity":              {kind: "application/json", encoding: "Identity", body: "1", value: number(1)},
		"not found":             {status: 404, kind: "application/json", body: `{}`, outcome: flow.CallStatus},
		"failed":                {status: 500, body: "x", outcome: flow.CallStatus},
		"not modified":          {status: 304, outcome: flow.CallStatus},
		"moved":                 {status: 302, redirect: true, outcome: flow.CallStatus},
	} {
		t.Run(name, func(t *testing.T) {
			var elsewhere atomic.Int64
			target := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
			f := newFixture(t, loopback())
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				if c.encoding != "" {
					w.Header().Set("Content-Encoding", c.encoding)
				}
				if c.redirect {
					w.Header().Set("Location", target)
				}
				if c.status != 0 {
					w.WriteHeader(c.status)
				}
				_, _ = io.WriteString(w, c.body)
			})
			got := f.Call(t.Context(), get(url))
			want := c.outcome
			if want == "" {
				want = flow.CallOK
			}
			require.Equal(t, want, got.Outcome)
			status := c.status
			if status == 0 {
				status = 200
			}
			require.Equal(t, status, got.Status)
			if want != flow.CallOK || c.nothing {
				c.value = nil
			}
			if want == flow.CallOK {
				require.True(t, proto.Equal(c.value, got.Value), "got %v", got.Value)
			}
			require.Zero(t, elsewhere.Load(), "no redirect is followed")
			require.NoError(t, testutil.GatherAndCompare(f.metrics, strings.NewReader(callsTotal(want)), "prosa_agent_calls_total"))
		})
	}
}

// callsTotal is the metric after one call.
func callsTotal(outcome flow.CallOutcome) string {
	text := "# HELP prosa_agent_calls_total Calls of flows to other systems by what came of them.\n# TYPE prosa_agent_calls_total counter\n"
	for _, each := range []string{"malformed", "network", "ok", "refused", "secret", "status", "timeout", "too_large", "unsendable"} {
		n := 0
		if each == string(outcome) {
			n = 1
		}
		text += fmt.Sprintf("prosa_agent_calls_total{outcome=%q} %d\n", each, n)
	}
	return text
}

func object(pairs ...any) *structpb.Value {
	fields := make(map[string]any)
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i].(string)] = pairs[i+1]
	}
	v, err := structpb.NewValue(fields)
	if err != nil {
		panic(err)
	}
	return v
}

func nested(levels int) *structpb.Value {
	v := structpb.NewListValue(&structpb.ListValue{})
	for range levels - 1 {
		v = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{v}})
	}
	return v
}

func TestRequestIsSentAsMade(t *testing.T) {
	f := newFixture(t, loopback())
	var seen []*http.Request
	var bodies []string
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		seen, bodies = append(seen, r), append(bodies, string(body))
	})
	r := get(url + "/a%2Fb?c=d%26e")
	r.Method, r.Body = "POST", `{"a":1}`
	r.Headers = []request.Header{
		{Name: "Authorization", Value: []expr.Piece{{Text: "Bearer "}, {Secret: "erp"}}},
		{Name: "Content-Type", Value: []expr.Piece{{Text: "application/json"}}},
	}
	again, other := *r, *r
	other.Number = 2
	for _, each := range []*flow.CallRequest{r, &again, &other, get(url)} {
		require.Equal(t, flow.CallOK, f.Call(t.Context(), each).Outcome)
	}
	require.Equal(t, "POST", seen[0].Method)
	require.Equal(t, "/a%2Fb?c=d%26e", seen[0].RequestURI)
	require.Equal(t, `{"a":1}`, bodies[0])
	require.Equal(t, "Bearer hush-hush", seen[0].Header.Get("Authorization"))
	require.Equal(t, "application/json", seen[0].Header.Get("Content-Type"))
	require.Equal(t, "Prosa/1.2.3", seen[0].Header.Get("User-Agent"))
	key := seen[0].Header.Get("Idempotency-Key")
	require.Regexp(t, "^[0-9a-f]{32}$", key)
	require.Equal(t, key, seen[1].Header.Get("Idempotency-Key"))
	require.NotEqual(t, key, seen[2].Header.Get("Idempotency-Key"))
	require.Empty(t, seen[3].Header.Get("Idempotency-Key"), "a GET changes nothing")

	own := get(url)
	own.Method = "DELETE"
	own.Headers = []request.Header{{Name: "Idempotency-Key", Value: []expr.Piece{{Text: "mine"}}}, {Name: "User-Agent", Value: []expr.Piece{{Text: "me"}}}}
	require.Equal(t, flow.CallOK, f.Call(t.Context(), own).Outcome)
	require.Equal(t, []string{"mine"}, seen[4].Header["Idempotency-Key"])
	require.Equal(t, "me", seen[4].Header.Get("User-Agent"))
}

func TestWhatCannotBeCalled(t *testing.T) {
	var calls atomic.Int64
	url := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	secretHeader := func(name string) []request.Header {
		return []request.Header{{Name: "X-Key", Value: []expr.Piece{{Secret: name}}}}
	}
	for name, c := range map[string]struct {
		guard   *egress.Guard
		change  func(r *flow.CallRequest)
		outcome flow.CallOutcome
	}{
		"an inner address":   {egress.NewGuard(nil, true), func(*flow.CallRequest) {}, flow.CallRefused},
		"plain http":         {egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, false), func(*flow.CallRequest) {}, flow.CallRefused},
		"nobody there":       {loopback(), func(r *flow.CallRequest) { r.URL = "http://" + closed.Addr().String() }, flow.CallNetwork},
		"no such secret":     {loopback(), func(r *flow.CallRequest) { r.Headers = secretHeader("other") }, flow.CallSecret},
		"another's secret":   {loopback(), func(r *flow.CallRequest) { r.Instance, r.Headers = "other", secretHeader("erp") }, flow.CallSecret},
		"a URL that is none": {loopback(), func(r *flow.CallRequest) { r.URL = "http://a b" }, flow.CallUnsendable},
		"a header that ends one": {loopback(), func(r *flow.CallRequest) {
			r.Headers = []request.Header{{Name: "X", Value: []expr.Piece{{Text: "a\r\nB: c"}}}}
		}, flow.CallUnsendable},
		"no time left in itself":  {loopback(), func(r *flow.CallRequest) { r.Timeout = 0 }, flow.CallTimeout},
		"no time left in general": {loopback(), func(r *flow.CallRequest) { r.Timeout = time.Nanosecond }, flow.CallTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.guard)
			r := get(url + "/?cpf=52998224725")
			c.change(r)
			require.Equal(t, flow.CallAnswer{Outcome: c.outcome}, f.Call(t.Context(), r))
			require.Zero(t, calls.Load())
			require.Contains(t, f.log.String(), `"outcome":"`+string(c.outcome)+`"`)
			require.Contains(t, f.log.String(), `"node":"lookup"`)
			for _, private := range []string{"52998224725", "hush", "127.0.0.1"} {
				require.NotContains(t, f.log.String(), private)
			}
		})
	}
}

// The time-out is of the whole exchange, and the turn has time left behind it.
func TestTime(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half an answer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, loopback())
			r := get(serve(t, handler))
			r.Timeout = 50 * time.Millisecond
			require.Equal(t, flow.CallTimeout, f.Call(t.Context(), r).Outcome)

			r.Timeout = time.Hour
			ctx, cancel := context.WithTimeout(t.Context(), call.Margin+50*time.Millisecond)
			defer cancel()
			require.Equal(t, flow.CallTimeout, f.Call(ctx, r).Outcome)
			require.NoError(t, ctx.Err(), "the turn has time left")

			ctx, cancel = context.WithTimeout(t.Context(), call.Margin)
			defer cancel()
			require.Equal(t, flow.CallTimeout, f.Call(ctx, r).Outcome)
		})
	}
}

func TestABrokenAnswer(t *testing.T) {
	f := newFixture(t, loopback())
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "a")
	})
	require.Equal(t, flow.CallNetwork, f.Call(t.Context(), get(url)).Outcome)
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := call.NewMetrics(registry)
	require.NoError(t, err)
	_, err = call.NewMetrics(registry)
	require.Error(t, err)
}

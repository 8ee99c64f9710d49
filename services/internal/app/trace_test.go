package app

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/prosa-chat/prosa/services/internal/config"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// collector is where processes send their traces.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*tracepb.Span
}

func (c *collector) Export(_ context.Context, in *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range in.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// of are the spans of a trace.
func (c *collector) of(traceID string) (spans []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		if hex.EncodeToString(span.GetTraceId()) == traceID {
			spans = append(spans, span)
		}
	}
	return spans
}

func collect(t *testing.T) (*collector, string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c, server := &collector{}, grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return c, listener.Addr().String()
}

// hook is one request that a receiver got.
type hook struct{ traceparent, body string }

// receiver fails the first request and acknowledges those after it.
func receiver(t *testing.T) (url string, got <-chan hook) {
	t.Helper()
	hooks := make(chan hook, 10)
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if requests.Add(1) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		} else {
			_, _ = io.WriteString(w, `{"status":"ok"}`)
		}
		hooks <- hook{strings.Join(r.Header.Values("traceparent"), ","), string(body)}
	}))
	t.Cleanup(server.Close)
	return server.URL, hooks
}

const (
	strangersTrace = "0af7651916cd43dd8448eb211c80319c"
	strangersSpan  = "b7ad6b7169203331"
	strangersFlag  = "-00" // asks that nobody keep the trace
)

// converse has one message answered and its answer delivered at the second
// attempt, and gives both attempts.
func converse(t *testing.T, addr, key string) (first, second hook) {
	t.Helper()
	made := func(path, body string) string {
		code, answer := call(t, http.MethodPost, "http://"+addr+"/v1/instances"+path, key, body)
		require.Equal(t, 200, code, answer)
		var resource struct{ ID string }
		require.NoError(t, json.Unmarshal([]byte(answer), &resource))
		return resource.ID
	}
	url, hooks := receiver(t)
	made("", `{"slug":"loja"}`)
	agent := made("/loja/agents", `{"definition":{"displayName":"Eco","fallback":"eco","nodes":{"eco":{"say":[{"text":"resposta sigilosa"}]}}}}`)
	channel := made("/loja/channels", `{"test":true,"agentId":"`+agent+`","webhookUrl":"`+url+`/hook?token=s3cret"}`)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/webhooks/api",
		strings.NewReader(`{"channelId":"`+channel+`","clientIdentifier":"5511999990000","type":"text","text":"pergunta sigilosa"}`))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("traceparent", "00-"+strangersTrace+"-"+strangersSpan+strangersFlag)
	request.Header.Set("tracestate", "ot=th:fff")
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 200, response.StatusCode)
	wait := func() hook {
		select {
		case got := <-hooks:
			return got
		case <-time.After(patience):
			t.Fatal("no webhook")
			return hook{}
		}
	}
	first, second = wait(), wait()
	require.Equal(t, first.body, second.body)
	return first, second
}

// retrying are settings that let webhooks come to this machine, twice.
func retrying(t *testing.T, settings config.Settings) config.Settings {
	t.Helper()
	schedule, err := webhook.ParseSchedule("10ms")
	require.NoError(t, err)
	settings.RetrySchedule, settings.EgressAllow, settings.EgressHTTP = schedule, []string{"127.0.0.0/8"}, true
	return settings
}

func TestOneTraceFromMessageToDelivery(t *testing.T) {
	traced := func(t *testing.T, endpoint string) config.Settings {
		settings := retrying(t, local(t))
		settings.OTLPEndpoint, settings.TraceRatio = endpoint, 1
		return settings
	}
	t.Run("one process", func(t *testing.T) {
		spans, endpoint := collect(t)
		s := start(t, Options{Settings: traced(t, endpoint)})
		first, second := converse(t, s.HTTPAddr, s.RootKey)
		require.NoError(t, s.end(t))
		requireTrace(t, spans.of(strangersTrace), first, second)
	})
	t.Run("roles apart", func(t *testing.T) {
		spans, endpoint := collect(t)
		apart := func() config.Settings {
			settings := traced(t, endpoint)
			settings.RootKey, settings.SecretKey, settings.InsecureInternal = testRootKey, testSecretKey, true
			return settings
		}
		memory := start(t, Options{Settings: apart(), Roles: []string{roleAccounts, roleContacts}})
		settings := apart()
		settings.AccountsTarget, settings.ContactsTarget = memory.GRPCAddr, memory.GRPCAddr
		brain := start(t, Options{Settings: settings, Roles: []string{roleAgent}})
		settings = apart()
		settings.AccountsTarget, settings.AgentTarget = memory.GRPCAddr, brain.GRPCAddr
		edge := start(t, Options{Settings: settings, Roles: []string{roleChannel}})
		settings = apart()
		settings.AccountsTarget, settings.ContactsTarget = memory.GRPCAddr, memory.GRPCAddr
		settings.AgentTarget, settings.ChannelTarget = brain.GRPCAddr, edge.GRPCAddr
		front := start(t, Options{Settings: settings, Roles: []string{roleGateway}})
		readyz(t, front.HTTPAddr, `{"status":"ok"}`)
		first, second := converse(t, front.HTTPAddr, testRootKey)
		for _, process := range []*started{front, edge, brain, memory} {
			require.NoError(t, process.end(t))
		}
		requireTrace(t, spans.of(strangersTrace), first, second)
	})
}

// requireTrace checks that the spans are those of one message whose answer was
// delivered at the second attempt.
func requireTrace(t *testing.T, spans []*tracepb.Span, first, second hook) {
	t.Helper()
	names := map[string]string{strangersSpan: "the caller"}
	for _, span := range spans {
		names[hex.EncodeToString(span.GetSpanId())] = span.GetName()
	}
	const (
		accept  = "prosa.channel.v1.InboundService/ReceiveMessage"
		turn    = "prosa.channel.turn"
		runTurn = "prosa.agent.v1.TurnService/RunTurn"
	)
	var got []string
	attempts := map[string]string{}
	for _, span := range spans {
		line := names[hex.EncodeToString(span.GetParentSpanId())] + " > " + span.GetName()
		if strings.Contains(line, "IdentityService") {
			continue // whether accounts is asked depends on what is remembered
		}
		if span.GetName() == "prosa.channel.delivery" {
			values := map[string]string{}
			for _, attribute := range span.GetAttributes() {
				values[attribute.GetKey()] = text(attribute.GetValue())
			}
			line += " " + values["prosa.attempt"] + " " + values["http.response.status_code"] + " " + values["prosa.outcome"]
			attempts["00-"+strangersTrace+"-"+hex.EncodeToString(span.GetSpanId())+"-01"] = values["prosa.attempt"]
		}
		got = append(got, line)
		require.Empty(t, span.GetTraceState(), "what the caller's tools noted stays outside")
		wire, err := proto.Marshal(span)
		require.NoError(t, err)
		for _, secret := range []string{"sigilosa", "5511999990000", "s3cret"} {
			require.NotContains(t, string(wire), secret)
		}
	}
	require.ElementsMatch(t, []string{
		"the caller > POST /webhooks/api",
		"POST /webhooks/api > " + accept,
		accept + " > " + turn,
		turn + " > " + runTurn,
		runTurn + " > prosa.contacts.v1.RecordService/OpenAttendance",
		runTurn + " > prosa.agent.flow",
		turn + ` > prosa.channel.delivery 1 500 status`,
		turn + ` > prosa.channel.delivery 2 200 acknowledged`,
	}, got)
	require.Equal(t, "1", attempts[first.traceparent], "the receiver is told of the attempt that it is part of")
	require.Equal(t, "2", attempts[second.traceparent])
	require.Contains(t, first.body, `"traceId":"`+strangersTrace+`"`)
}

func text(value *commonpb.AnyValue) string {
	if _, number := value.GetValue().(*commonpb.AnyValue_IntValue); number {
		return strconv.FormatInt(value.GetIntValue(), 10)
	}
	return value.GetStringValue()
}

func TestWithoutTracingNothingOfATraceIsStoredOrSent(t *testing.T) {
	s := start(t, Options{Settings: retrying(t, local(t))})
	first, second := converse(t, s.HTTPAddr, s.RootKey)
	require.NoError(t, s.end(t))
	require.Empty(t, first.traceparent)
	require.Empty(t, second.traceparent)
	require.Contains(t, first.body, `"traceId":null`)
}

func TestWhatIsNotKeptOfTracesIsNotSent(t *testing.T) {
	spans, endpoint := collect(t)
	settings := retrying(t, local(t))
	settings.OTLPEndpoint, settings.TraceRatio = endpoint, 0
	s := start(t, Options{Settings: settings})
	first, _ := converse(t, s.HTTPAddr, s.RootKey)
	require.NoError(t, s.end(t))
	require.Empty(t, first.traceparent)
	require.Contains(t, first.body, `"traceId":null`)
	require.Empty(t, spans.spans)
}

package grpcserver_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestOrderOfTheChain(t *testing.T) {
	chain := newFixture(t).chain
	t.Log(strings.Join(chain.Names(), " → ") + " → handler")
	require.Equal(t, []string{
		"recover", "request-id", "telemetry", "access-log", "error-masking", "authentication", "rate-limit", "validation",
	}, chain.Names())
	require.Len(t, chain.Unary(), len(chain.Names()))
	require.Len(t, chain.Stream(), len(chain.Names()))
}

// TestOrderIsWhatHappens sends calls that are wrong in more than one way: the outer link answers.
func TestOrderIsWhatHappens(t *testing.T) {
	f := newFixture(t)
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		contacts := contactsv1.NewContactsServiceClient(conn)
		f.clock.Advance(time.Hour)
		invalid := &contactsv1.QueryContactsRequest{Instance: "acme", Pagination: strings.Repeat("x", 2000)}
		_, err := contacts.QueryContacts(t.Context(), invalid)
		require.Equal(t, "CREDENTIALS_MISSING", rpcerr.Reason(err), "authentication before validation")
		ctx := with(t.Context(), "x-api-key", contactsKey)
		for range 10 {
			_, err = contacts.QueryContacts(ctx, invalid)
			require.Equal(t, "REQUEST_INVALID", rpcerr.Reason(err))
		}
		_, err = contacts.QueryContacts(ctx, invalid)
		require.Equal(t, "RATE_LIMITED", rpcerr.Reason(err), "rate limit before validation")
	})
}

func TestRequestIDs(t *testing.T) {
	f := newFixture(t)
	var seen string
	f.handle(func(ctx context.Context) error {
		seen = grpcserver.RequestID(ctx)
		return nil
	})
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		accounts := accountsv1.NewAccountsServiceClient(conn)
		for name, test := range map[string]struct {
			sent []string
			kept bool
		}{
			"none": {nil, false}, "good": {[]string{"Az09._-"}, true}, "64": {[]string{strings.Repeat("a", 64)}, true},
			"65": {[]string{strings.Repeat("a", 65)}, false}, "empty": {[]string{""}, false}, "space": {[]string{"a b"}, false},
			"quote": {[]string{`a"b`}, false}, "two": {[]string{"a", "b"}, false}, "slash": {[]string{"a/b"}, false},
		} {
			t.Run(name, func(t *testing.T) {
				ctx := with(t.Context(), "authorization", "Bearer "+manageKey)
				for _, sent := range test.sent {
					ctx = with(ctx, "x-request-id", sent)
				}
				var header metadata.MD
				_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"}, grpc.Header(&header))
				require.NoError(t, err)
				require.Equal(t, []string{seen}, header.Get("x-request-id"))
				if test.kept {
					require.Equal(t, test.sent[0], seen)
				} else {
					require.Regexp(t, "^[0-9a-f]{24}$", seen)
				}
			})
		}
	})
}

func TestDeadlines(t *testing.T) {
	f := newFixture(t)
	var left time.Duration
	f.handle(func(ctx context.Context) error {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		left = time.Until(deadline)
		return nil
	})
	near := func(t *testing.T, want time.Duration) {
		t.Helper()
		require.Greater(t, left, want-5*time.Second)
		require.LessOrEqual(t, left, want)
	}
	conn := f.inProcess(t).Public()
	call := func(ctx context.Context) {
		_, err := accountsv1.NewAccountsServiceClient(conn).GetInstance(with(ctx, "authorization", "Bearer "+manageKey), &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.NoError(t, err)
	}
	call(context.Background())
	near(t, 30*time.Second)

	short, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	call(short)
	near(t, 10*time.Second)

	long, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	call(long)
	near(t, 4*time.Minute)

	absurd, cancel := context.WithTimeout(context.Background(), 99999*time.Hour)
	defer cancel()
	call(absurd)
	near(t, 5*time.Minute)

	f.streamsEverywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		_, _, _ = callStream(with(context.Background(), "authorization", "Bearer "+manageKey), conn, "GetInstance", &accountsv1.GetInstanceRequest{Instance: "acme"})
		near(t, 5*time.Minute)
	})
}

func TestMetricsCountEveryCall(t *testing.T) {
	f := newFixture(t)
	grpcserver.NewChain(f.deps) // a second chain of the process shares the metrics
	conn := f.inProcess(t).Public()
	accounts := accountsv1.NewAccountsServiceClient(conn)
	ctx := with(t.Context(), "authorization", "Bearer "+manageKey)
	f.handle(func(context.Context) error {
		f.clock.Advance(20 * time.Millisecond)
		return nil
	})
	for range 3 {
		_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.NoError(t, err)
	}
	_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "other"})
	require.Error(t, err)
	f.handle(func(context.Context) error { panic("x") })
	_, err = accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
	require.Error(t, err)

	families, err := f.metrics.Gather()
	require.NoError(t, err)
	counted := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := ""
			for _, label := range metric.GetLabel() {
				labels += " " + label.GetName() + "=" + label.GetValue()
			}
			if family.GetName() == "prosa_rpc_requests_total" {
				counted[strings.TrimSpace(labels)] = metric.GetCounter().GetValue()
			}
			if family.GetName() == "prosa_rpc_seconds" && strings.Contains(labels, "GetInstance") {
				require.EqualValues(t, 5, metric.GetHistogram().GetSampleCount())
				require.InDelta(t, 0.06, metric.GetHistogram().GetSampleSum(), 0.001)
			}
		}
	}
	const method = "method=prosa.accounts.v1.AccountsService/GetInstance"
	require.EqualValues(t, 3, counted["code=OK "+method])
	require.EqualValues(t, 1, counted["code=NotFound "+method])
	require.EqualValues(t, 1, counted["code=Internal "+method])
}

func TestSpans(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	f := newFixture(t, func(d *grpcserver.ChainDeps) { d.Tracer = provider })
	p := f.inProcess(t)

	// The handler calls another service: its span is a child of the handler's, and the request id is the same.
	var inner []string
	f.handle(func(ctx context.Context) error {
		inner = append(inner, grpcserver.RequestID(ctx))
		if auth.FromContext(ctx).Internal {
			return rpcerr.Internal(nil)
		}
		_, err := accountsv1.NewIdentityServiceClient(p.Services()).LookupInstance(ctx, &accountsv1.LookupInstanceRequest{Instance: "acme"})
		require.Equal(t, codes.Internal, status.Code(err))
		return nil
	})
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := with(t.Context(), "authorization", "Bearer "+manageKey, "traceparent", parent, "x-request-id", "r1")
	_, err := accountsv1.NewAccountsServiceClient(p.Public()).GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
	require.NoError(t, err)
	require.Equal(t, []string{"r1", "r1"}, inner)

	ended := spans.Ended()
	require.Len(t, ended, 2)
	lookup, get := ended[0], ended[1]
	require.Equal(t, "prosa.accounts.v1.AccountsService/GetInstance", get.Name())
	require.Equal(t, trace.SpanKindServer, get.SpanKind())
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", get.SpanContext().TraceID().String())
	require.Equal(t, "b7ad6b7169203331", get.Parent().SpanID().String())
	require.Equal(t, get.SpanContext().SpanID(), lookup.Parent().SpanID())
	require.Equal(t, get.SpanContext().TraceID(), lookup.SpanContext().TraceID())
	require.Equal(t, "Unset", get.Status().Code.String())
	require.Equal(t, "Error", lookup.Status().Code.String())
	for _, attr := range lookup.Attributes() {
		require.NotContains(t, attr.Value.String(), manageKey)
	}
	require.Contains(t, f.log.text(), `"trace_id":"0af7651916cd43dd8448eb211c80319c"`)
}

func TestOnlyAServiceTakesACallOutOfItsTrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	f := newFixture(t, func(d *grpcserver.ChainDeps) {
		d.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	})
	p := f.inProcess(t)
	ctx := with(t.Context(), "authorization", "Bearer "+manageKey, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "tracestate", "a=b")
	network, _ := f.network(t, grpcserver.Options{}, grpcclient.Options{})
	for _, door := range []struct {
		conn grpc.ClientConnInterface
		kept int
	}{{p.Services(), 0}, {p.Public(), 1}, {network, 2}} {
		_, err := accountsv1.NewAccountsServiceClient(door.conn).GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
		require.NoError(t, err)
		require.Len(t, spans.Ended(), door.kept)
	}
	for _, span := range spans.Ended() {
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", span.SpanContext().TraceID().String())
		require.Equal(t, "b7ad6b7169203331", span.Parent().SpanID().String())
		require.Zero(t, span.SpanContext().TraceState().Len())
	}
}

func TestATraceIsHandedOnWithoutSpans(t *testing.T) {
	f := newFixture(t, func(d *grpcserver.ChainDeps) { d.Tracer = noop.NewTracerProvider() })
	p := f.inProcess(t)
	var traces []string
	f.handle(func(ctx context.Context) error {
		traces = append(traces, trace.SpanContextFromContext(ctx).TraceID().String())
		if auth.FromContext(ctx).Internal {
			return nil
		}
		_, err := accountsv1.NewIdentityServiceClient(p.Services()).LookupInstance(ctx, &accountsv1.LookupInstanceRequest{Instance: "acme"})
		return err
	})
	ctx := with(t.Context(), "authorization", "Bearer "+manageKey, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	_, err := accountsv1.NewAccountsServiceClient(p.Public()).GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
	require.NoError(t, err)
	require.Equal(t, []string{"0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c"}, traces)
}

// TestFieldsOfANewerReleasePass has a caller and a service that know a field more than what is between them, as while a release is rolled
// out: nobody refuses it, and nobody takes it away.
func TestFieldsOfANewerReleasePass(t *testing.T) {
	f := newFixture(t)
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		unknown := protowire.AppendString(protowire.AppendTag(nil, 1000, protowire.BytesType), "of a later release")
		request := &channelv1.ReceiveMessageRequest{
			ChannelId: strings.Repeat("a", 24), ClientIdentifier: "person", Type: "text", Text: "good morning",
		}
		request.ProtoReflect().SetUnknown(unknown)
		response, err := channelv1.NewInboundServiceClient(conn).ReceiveMessage(t.Context(), request)
		require.NoError(t, err)
		require.EqualValues(t, unknown, response.ProtoReflect().GetUnknown())
	})
}

func TestValidation(t *testing.T) {
	f := newFixture(t)
	f.everywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		_, err := channelv1.NewInboundServiceClient(conn).ReceiveMessage(t.Context(), &channelv1.ReceiveMessageRequest{Type: "audio"})
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		var fields []string
		for _, v := range rpcerr.Violations(status.Convert(err)) {
			fields = append(fields, v.Field)
		}
		require.Equal(t, []string{"channelId", "clientIdentifier", "type", "text"}, fields)
	})
	f.streamsEverywhere(t, func(t *testing.T, conn grpc.ClientConnInterface) {
		answers, _, err := callStream(with(t.Context(), "x-api-key", rootKey), conn, "GetInstance", &accountsv1.GetInstanceRequest{})
		require.Zero(t, answers)
		require.Equal(t, "REQUEST_INVALID", rpcerr.Reason(err))
	})
}

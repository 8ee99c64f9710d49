package grpcclient_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/requestid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// replica is an accounts service that remembers what it was sent.
type replica struct {
	accountsv1.UnimplementedIdentityServiceServer
	health *health.Server

	mu    sync.Mutex
	calls []metadata.MD
	left  time.Duration
	block bool
}

func (r *replica) LookupInstance(ctx context.Context, _ *accountsv1.LookupInstanceRequest) (*accountsv1.LookupInstanceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	deadline, _ := ctx.Deadline()
	r.mu.Lock()
	r.calls = append(r.calls, md)
	r.left = time.Until(deadline)
	block := r.block
	r.mu.Unlock()
	if block {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &accountsv1.LookupInstanceResponse{}, nil
}

func (r *replica) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls)
}

func (r *replica) last() metadata.MD {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[len(r.calls)-1]
}

func startReplica(t *testing.T) (*replica, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r, server := &replica{health: health.NewServer()}, grpc.NewServer()
	accountsv1.RegisterIdentityServiceServer(server, r)
	grpc_health_v1.RegisterHealthServer(server, r.health)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return r, listener.Addr().String()
}

func dial(t *testing.T, target string, options grpcclient.Options) accountsv1.IdentityServiceClient {
	t.Helper()
	conn, err := grpcclient.Dial(target, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return accountsv1.NewIdentityServiceClient(conn)
}

func lookup(ctx context.Context, client accountsv1.IdentityServiceClient) error {
	_, err := client.LookupInstance(ctx, &accountsv1.LookupInstanceRequest{Instance: "acme"}, grpc.WaitForReady(true))
	return err
}

func TestRequestIDAndTraceGoAlongAndNothingElse(t *testing.T) {
	r, address := startReplica(t)
	client := dial(t, "passthrough:///"+address, grpcclient.Options{})

	traceID, err := trace.TraceIDFromHex("0af7651916cd43dd8448eb211c80319c")
	require.NoError(t, err)
	spanID, err := trace.SpanIDFromHex("b7ad6b7169203331")
	require.NoError(t, err)
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled}))
	ctx = requestid.With(ctx, "r1")
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer secret", "x-api-key", "secret"))
	require.NoError(t, lookup(ctx, client))
	require.Equal(t, []string{"r1"}, r.last().Get("x-request-id"))
	require.Equal(t, []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, r.last().Get("traceparent"))
	require.Empty(t, r.last().Get("authorization"))
	require.Empty(t, r.last().Get("x-api-key"))

	require.NoError(t, lookup(metadata.AppendToOutgoingContext(ctx, "x-request-id", "own", "traceparent", "own"), client))
	require.Equal(t, []string{"own"}, r.last().Get("x-request-id"), "what the caller says itself is not said twice")
	require.Equal(t, []string{"own"}, r.last().Get("traceparent"))

	require.NoError(t, lookup(t.Context(), client))
	require.Empty(t, r.last().Get("x-request-id"))
	require.Empty(t, r.last().Get("traceparent"))
}

func TestCallsWithoutADeadlineGetOne(t *testing.T) {
	r, address := startReplica(t)
	require.NoError(t, lookup(context.Background(), dial(t, "passthrough:///"+address, grpcclient.Options{})))
	require.InDelta(t, 30, r.left.Seconds(), 5)

	r.block = true
	err := lookup(context.Background(), dial(t, "passthrough:///"+address, grpcclient.Options{Timeout: 20 * time.Millisecond}))
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
}

func TestCallsAreBalancedOverServingReplicas(t *testing.T) {
	one, addressOne := startReplica(t)
	two, addressTwo := startReplica(t)
	builder := manual.NewBuilderWithScheme("replicas")
	builder.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: addressOne}, {Addr: addressTwo}}})
	client := dial(t, "replicas:///accounts", grpcclient.Options{DialOptions: []grpc.DialOption{grpc.WithResolvers(builder)}})

	for one.count() == 0 || two.count() == 0 { // until both are connected
		require.NoError(t, lookup(t.Context(), client))
	}
	before := [2]int{one.count(), two.count()}
	for range 20 {
		require.NoError(t, lookup(t.Context(), client))
	}
	require.Equal(t, [2]int{before[0] + 10, before[1] + 10}, [2]int{one.count(), two.count()})

	one.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	for quiet := 0; quiet < 20; { // until the change has come through: twenty calls in a row for the other
		before := one.count()
		require.NoError(t, lookup(t.Context(), client))
		if quiet++; one.count() != before {
			quiet = 0
		}
	}
}

func TestDialRefusesATargetThatIsNone(t *testing.T) {
	_, err := grpcclient.Dial("dns:///\x00", grpcclient.Options{})
	require.Error(t, err)
}

func TestNoRoleIsUnavailable(t *testing.T) {
	client := dial(t, "passthrough:///127.0.0.1:1", grpcclient.Options{})
	_, err := client.LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

func TestLate(t *testing.T) {
	r, address := startReplica(t)
	var late grpcclient.Late
	client := accountsv1.NewIdentityServiceClient(&late)
	_, err := client.LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
	_, err = late.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/grpc.health.v1.Health/Watch")
	require.Equal(t, codes.Unavailable, status.Code(err))

	conn, err := grpcclient.Dial("passthrough:///"+address, grpcclient.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	late.Bind(conn)
	require.NoError(t, lookup(t.Context(), client))
	require.Equal(t, 1, r.count())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := grpc_health_v1.NewHealthClient(&late).Watch(requestid.With(ctx, "r1"), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
}

package grpcserver_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestLargestMessage(t *testing.T) {
	f := newFixture(t)
	conn, _ := f.network(t, grpcserver.Options{}, grpcclient.Options{})
	accounts := accountsv1.NewAccountsServiceClient(conn)
	ctx := with(t.Context(), "x-api-key", rootKey)
	size := func(n int) error {
		_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: strings.Repeat("x", n)})
		return err
	}
	const frame = 5 // tag and length of the field
	require.Equal(t, "REQUEST_INVALID", rpcerr.Reason(size(grpcserver.MaxReceiveBytes-frame)), "taken, and refused for what it says")
	require.Equal(t, codes.ResourceExhausted, status.Code(size(grpcserver.MaxReceiveBytes-frame+1)))
}

func TestStopWaitsForCallsAndThenCutsThemOff(t *testing.T) {
	f := newFixture(t)
	server := grpcserver.New(f.chain, grpcserver.Options{})
	f.register(server)
	conn := dial(t, serve(t, server), grpcclient.Options{})
	accounts := accountsv1.NewAccountsServiceClient(conn)
	ctx := with(t.Context(), "x-api-key", manageKey)

	entered := make(chan struct{})
	f.handle(func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	})
	answered := make(chan error, 1)
	go func() {
		_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
		answered <- err
	}()
	<-entered
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := server.Stop(soon)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "cut off")
	require.Error(t, <-answered)
	require.NoError(t, server.Stop(t.Context()), "twice")
}

func TestStopIsNotHeldUpByWatches(t *testing.T) {
	f := newFixture(t)
	server := grpcserver.New(f.chain, grpcserver.Options{})
	conn := dial(t, serve(t, server), grpcclient.Options{})
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	answer, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.GetStatus())
	require.NoError(t, server.Stop(t.Context()))
}

func TestHealthChangesAreSeen(t *testing.T) {
	f := newFixture(t)
	server := grpcserver.New(f.chain, grpcserver.Options{})
	f.register(server)
	conn := dial(t, serve(t, server), grpcclient.Options{})
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	for _, serving := range []bool{true, false, true} {
		server.SetServing("", serving)
		answer, err := watch.Recv()
		require.NoError(t, err)
		require.Equal(t, serving, answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING)
	}
	require.Contains(t, server.GetServiceInfo(), "grpc.health.v1.Health")
}

func TestInProcessStop(t *testing.T) {
	f := newFixture(t)
	p := grpcserver.NewInProcess(f.chain)
	f.register(p)
	p.RegisterService(&unstated, struct{}{})
	require.Contains(t, p.GetServiceInfo(), "prosa.accounts.v1.AccountsService")
	accounts := accountsv1.NewAccountsServiceClient(p.Public())
	ctx := with(t.Context(), "x-api-key", manageKey)

	entered, release := make(chan struct{}), make(chan struct{})
	f.handle(func(context.Context) error {
		close(entered)
		<-release
		return nil
	})
	// The caller goes away; its handler still runs, and Stop knows.
	leaving, leave := context.WithCancel(ctx)
	answered := make(chan error, 1)
	go func() {
		_, err := accounts.GetInstance(leaving, &accountsv1.GetInstanceRequest{Instance: "acme"})
		answered <- err
	}()
	<-entered
	leave()
	require.Equal(t, codes.Canceled, status.Code(<-answered))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, p.Stop(ended), "still run")
	_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
	require.Equal(t, "UNAVAILABLE", rpcerr.Reason(err))
	stream, err := p.Services().NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/prosa.test.v1.Unstated/Stream")
	require.NoError(t, err)
	require.Equal(t, "UNAVAILABLE", rpcerr.Reason(stream.RecvMsg(new(accountsv1.GetInstanceResponse))))
	close(release)
	require.NoError(t, p.Stop(t.Context()))
	require.NoError(t, p.Stop(t.Context()), "twice")
}

package grpcserver_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
)

// twoHops are two servers on the network, the first of which calls the second while it serves.
func twoHops(t *testing.T, far func(ctx context.Context) error) accountsv1.AccountsServiceClient {
	t.Helper()
	back, front := newFixture(t), newFixture(t)
	back.handle(far)
	onward, _ := back.network(t, grpcserver.Options{TrustNetwork: true}, grpcclient.Options{})
	identity := accountsv1.NewIdentityServiceClient(onward)
	front.handle(func(ctx context.Context) error {
		_, err := identity.LookupInstance(ctx, &accountsv1.LookupInstanceRequest{Instance: "acme"})
		return err
	})
	conn, _ := front.network(t, grpcserver.Options{}, grpcclient.Options{})
	return accountsv1.NewAccountsServiceClient(conn)
}

// TestADeadlineGoesAlongOverHops: what the caller has left is all that the last server has, and its own is not longer.
func TestADeadlineGoesAlongOverHops(t *testing.T) {
	seen := make(chan time.Time, 1)
	accounts := twoHops(t, func(ctx context.Context) error {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		seen <- deadline
		return nil
	})
	for _, given := range []time.Duration{3 * time.Second, 20 * time.Second} {
		ctx, cancel := context.WithTimeout(with(t.Context(), "x-api-key", manageKey), given)
		began := time.Now()
		_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
		cancel()
		require.NoError(t, err)
		deadline := <-seen
		// A deadline travels as what is left of it, and rounded up to what its header has room for.
		require.LessOrEqual(t, deadline.Sub(began), given+time.Since(began)+10*time.Millisecond)
		require.Greater(t, deadline.Sub(began), given-time.Second)
	}
}

// TestACallThatIsOverEndsAtTheLastHop: when the caller leaves, and when its time is up, the last server's handler is told.
func TestACallThatIsOverEndsAtTheLastHop(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan error)
	accounts := twoHops(t, func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	call := func(ctx context.Context) <-chan error {
		answered := make(chan error, 1)
		go func() {
			_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
			answered <- err
		}()
		return answered
	}
	t.Run("the caller leaves", func(t *testing.T) {
		ctx, leave := context.WithTimeout(with(t.Context(), "x-api-key", manageKey), time.Minute)
		answered := call(ctx)
		<-entered
		leave()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Equal(t, codes.Canceled, status.Code(<-answered))
	})
	t.Run("its time is up", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(with(t.Context(), "x-api-key", manageKey), time.Second)
		defer cancel()
		answered := call(ctx)
		<-entered
		require.Error(t, <-ended)
		require.Equal(t, codes.DeadlineExceeded, status.Code(<-answered))
	})
}

// TestANewReplicaGetsLoadWhenConnectionsAge adds a replica while a client is connected to another. That one asks the client to come
// back, the client looks the name up anew, and calls go to both; none fails.
func TestANewReplicaGetsLoadWhenConnectionsAge(t *testing.T) {
	old, added := newFixture(t), newFixture(t)
	var newcomer atomic.Int64
	added.handle(func(context.Context) error { newcomer.Add(1); return nil })
	addresses := make([]resolver.Address, 0, 2)
	for _, f := range []*fixture{old, added} {
		server := grpcserver.New(f.chain, grpcserver.Options{ConnectionAge: 50 * time.Millisecond})
		f.register(server)
		addresses = append(addresses, resolver.Address{Addr: serve(t, server)})
	}
	names := manual.NewBuilderWithScheme("names")
	names.InitialState(resolver.State{Addresses: addresses[:1]})
	var cc resolver.ClientConn
	names.BuildCallback = func(_ resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) { cc = conn }
	names.ResolveNowCallback = func(resolver.ResolveNowOptions) {
		go func() { _ = cc.UpdateState(resolver.State{Addresses: addresses}) }()
	}
	conn, err := grpcclient.Dial("names:///accounts", grpcclient.Options{DialOptions: []grpc.DialOption{grpc.WithResolvers(names)}})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	accounts := accountsv1.NewAccountsServiceClient(conn)
	for newcomer.Load() == 0 {
		_, err := accounts.GetInstance(with(t.Context(), "x-api-key", manageKey), &accountsv1.GetInstanceRequest{Instance: "acme"}, grpc.WaitForReady(true))
		require.NoError(t, err)
	}
}

// TestWhoPingsTooOftenIsCutOff has a client ping without pause, which no client of ours does.
func TestWhoPingsTooOftenIsCutOff(t *testing.T) {
	f := newFixture(t)
	conn, err := net.Dial("tcp", serve(t, grpcserver.New(f.chain, grpcserver.Options{})))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = conn.Write([]byte(http2.ClientPreface))
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	require.NoError(t, framer.WriteSettings())
	for range 10 {
		if framer.WritePing(false, [8]byte{}) != nil {
			break // it hung up already
		}
	}
	for {
		frame, err := framer.ReadFrame()
		require.NoError(t, err, "the end comes with a reason")
		if goAway, ok := frame.(*http2.GoAwayFrame); ok {
			require.Equal(t, http2.ErrCodeEnhanceYourCalm, goAway.ErrCode)
			require.Equal(t, "too_many_pings", string(goAway.DebugData()))
			return
		}
	}
}

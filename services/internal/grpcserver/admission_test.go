package grpcserver_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/admission"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// TestCallsFromOutsideAreHeldBackAndNoOthers has the handlers of management hang. 256 calls are carried out, some more wait, and
// what comes then is turned away while no time passes. Calls of services, of another kind, and for health are answered meanwhile.
func TestCallsFromOutsideAreHeldBackAndNoOthers(t *testing.T) {
	const places, waiting, beyond = 256, 256 * admission.WaitersPerPlace, 50
	f := newFixture(t)
	p := f.inProcess(t)
	accounts := accountsv1.NewAccountsServiceClient(p.Public())
	ctx := with(t.Context(), "x-api-key", rootKey)
	var running atomic.Int64
	release := make(chan struct{})
	hang := func(context.Context) error { running.Add(1); <-release; return nil }
	f.handle(hang)

	answers := make(chan error, 2*(places+waiting))
	call := func() error {
		_, err := accounts.GetInstance(ctx, &accountsv1.GetInstanceRequest{Instance: "acme"})
		return err
	}
	launched := 0
	launch := func(calls int) {
		launched += calls
		for range calls {
			go func() { answers <- call() }()
		}
	}
	turnedAway := func(err error) {
		t.Helper()
		require.Equal(t, codes.Unavailable, status.Code(err))
		require.Equal(t, "UNAVAILABLE", rpcerr.Reason(err))
		after, ok := rpcerr.RetryAfter(err)
		require.True(t, ok)
		require.Equal(t, time.Second, after)
	}
	launch(places + waiting)
	require.Eventually(t, func() bool { // one more after the other, until the first is turned away: then all that fit are there
		launch(1)
		return len(answers) > 0
	}, 25*time.Second, time.Millisecond)
	for range beyond {
		turnedAway(call())
	}
	require.Equal(t, int64(places), running.Load())

	f.handle(nil)
	_, err := accountsv1.NewIdentityServiceClient(p.Services()).LookupInstance(t.Context(), &accountsv1.LookupInstanceRequest{Instance: "acme"})
	require.NoError(t, err)
	_, err = contactsv1.NewContactsServiceClient(p.Public()).QueryContacts(ctx, &contactsv1.QueryContactsRequest{Instance: "acme"})
	require.NoError(t, err)
	conn, _ := f.network(t, grpcserver.Options{}, grpcclient.Options{})
	_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)

	f.clock.Advance(admission.DefaultWait)
	for range launched - places {
		turnedAway(<-answers)
	}
	close(release)
	for range places {
		require.NoError(t, <-answers)
	}
	shed, err := testutil.GatherAndCount(f.metrics, "prosa_rpc_shed_total")
	require.NoError(t, err)
	require.Equal(t, 4, shed, "every kind is there from the start")
	require.Equal(t, int64(places), running.Load())
	require.NoError(t, call())
}

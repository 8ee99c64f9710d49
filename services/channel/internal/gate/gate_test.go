package gate

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func from(address string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs("x-forwarded-for", address))
}

func limited(t *testing.T, err error, wait time.Duration) {
	t.Helper()
	require.Equal(t, codes.ResourceExhausted, rpcerr.Code(err))
	require.Equal(t, "RATE_LIMITED", rpcerr.Reason(err))
	after, ok := rpcerr.RetryAfter(err)
	require.True(t, ok)
	require.Equal(t, wait, after)
}

func newGate(t *testing.T, limits Limits) (*Gate, *clock.Manual, *prometheus.Registry) {
	t.Helper()
	manual, metrics := clock.NewManual(start), prometheus.NewRegistry()
	g, err := New(limits, manual, metrics)
	require.NoError(t, err)
	return g, manual, metrics
}

func TestEachEndpointHasItsRate(t *testing.T) {
	g, manual, _ := newGate(t, Limits{Endpoint: ratelimit.Rate{PerSecond: 10, Burst: 3}})
	for range 3 {
		require.NoError(t, g.Enter("a"))
	}
	limited(t, g.Enter("a"), 100*time.Millisecond)
	require.NoError(t, g.Enter("b"))
	manual.Advance(100 * time.Millisecond)
	require.NoError(t, g.Enter("a"))
	limited(t, g.Enter("a"), 100*time.Millisecond)
	require.InDelta(t, 2, testutil.ToFloat64(g.refused.WithLabelValues("endpoint")), 0)
}

func TestUnknownEndpointsAreCountedByAddress(t *testing.T) {
	g, manual, _ := newGate(t, Limits{Refused: ratelimit.Rate{PerSecond: 10, Burst: 3}})
	one, other, nobody := from("203.0.113.1"), from("203.0.113.2"), context.Background()
	for range 3 {
		require.NoError(t, g.Unknown(one))
		require.NoError(t, g.Unknown(one), "only what was not found counts")
		g.NotFound(one)
	}
	limited(t, g.Unknown(one), 100*time.Millisecond)
	require.NoError(t, g.Unknown(other))
	require.NoError(t, g.Guess(one, "a"), "what it may guess is another matter")
	manual.Advance(100 * time.Millisecond)
	require.NoError(t, g.Unknown(one))
	for range 10 {
		require.NoError(t, g.Unknown(nobody), "calls within the process come from no address")
		g.NotFound(nobody)
	}
}

func TestTokensAreCountedByAddressAndEndpoint(t *testing.T) {
	g, manual, _ := newGate(t, Limits{Refused: ratelimit.Rate{PerSecond: 10, Burst: 3}})
	one, other := from("2001:db8:0:1::7"), from("2001:db8:0:2::7")
	for i := range 3 {
		// Within one /64 everybody is one.
		neighbour := from("2001:db8:0:1::" + strconv.Itoa(i+1))
		require.NoError(t, g.Guess(neighbour, "a"))
		g.Misfit(neighbour, "a")
	}
	limited(t, g.Guess(one, "a"), 100*time.Millisecond)
	require.NoError(t, g.Guess(one, "b"), "others behind the same address use other endpoints")
	require.NoError(t, g.Guess(other, "a"))
	manual.Advance(100 * time.Millisecond)
	require.NoError(t, g.Guess(one, "a"))
	for range 10 {
		require.NoError(t, g.Guess(context.Background(), "a"))
		g.Misfit(context.Background(), "a")
	}
}

func TestNoRateIsNoLimit(t *testing.T) {
	g, _, _ := newGate(t, Limits{Endpoint: ratelimit.Rate{PerSecond: -1, Burst: 2000}})
	ctx := from("203.0.113.1")
	for range 100 {
		require.NoError(t, g.Enter("a"))
		require.NoError(t, g.Unknown(ctx))
		g.NotFound(ctx)
		require.NoError(t, g.Guess(ctx, "a"))
		g.Misfit(ctx, "a")
	}
}

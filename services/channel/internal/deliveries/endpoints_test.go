package deliveries

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	taken  = webhook.Outcome{StatusCode: http.StatusOK, Acknowledged: true}
	failed = webhook.Outcome{StatusCode: http.StatusInternalServerError, Err: webhook.Status}
	slow   = webhook.Outcome{StatusCode: http.StatusBadGateway, Err: webhook.Status, SlowDown: true}
)

// known is endpoints, of which "a" is asked for.
type known struct {
	*endpoints
	t     *testing.T
	clock *clock.Manual
}

func newKnown(t *testing.T, limit int) known {
	manual := clock.NewManual(time.Unix(0, 0))
	return known{newEndpoints(limit, manual), t, manual}
}

// exchange makes exchanges one after the other.
func (k known) exchange(n int, outcome webhook.Outcome) {
	k.t.Helper()
	for range n {
		require.Equal(k.t, 1, k.enter("a", 1))
		k.learn("a", outcome)
		k.leave("a", 1)
	}
}

func TestAnEndpointTakesItsLimitAndNotOneMore(t *testing.T) {
	e := newKnown(t, 3)
	require.Equal(t, 2, e.enter("a", 2))
	require.Equal(t, 1, e.enter("a", 2))
	require.Zero(t, e.enter("a", 1))
	require.Equal(t, 1, e.enter("b", 1))
	require.True(t, e.leave("a", 1))
	require.Equal(t, 1, e.room("a"))
}

func TestRoomIsWorthAClaimFromAQuarterOn(t *testing.T) {
	e := newKnown(t, 8)
	require.Equal(t, 8, e.enter("a", 8))
	require.False(t, e.leave("a", 1))
	require.True(t, e.leave("a", 1))
}

func TestAnIdleEndpointIsForgotten(t *testing.T) {
	e := newKnown(t, 4)
	e.exchange(1, taken)
	require.Empty(t, e.known)
	e.exchange(1, failed)
	require.Len(t, e.known, 1)
	e.exchange(1, taken)
	require.Empty(t, e.known)
	require.True(t, e.again(t.Context(), "a", false))
	e.leave("a", 1)
	require.Empty(t, e.known)
}

func TestALaneThatIsHeldWaitsForItsNextExchange(t *testing.T) {
	e := newKnown(t, 1)
	require.Equal(t, 1, e.enter("a", 1))
	got := make(chan bool)
	wait := func(ctx context.Context, waiters int) {
		go func() { got <- e.again(ctx, "a", false) }()
		require.Eventually(t, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.known["a"].waiters) == waiters }, time.Minute, time.Millisecond)
	}
	wait(t.Context(), 1)
	require.False(t, e.leave("a", 1), "it is handed on")
	require.True(t, <-got)
	require.Zero(t, e.room("a"))

	ctx, cancel := context.WithCancel(t.Context())
	wait(ctx, 1)
	cancel()
	require.False(t, <-got)
	require.True(t, e.leave("a", 1))
	require.Equal(t, 1, e.room("a"), "who went away has taken nothing")
}

func TestLanesThatAreHeldAreSentAwayWhenTheReceiverWantsQuiet(t *testing.T) {
	e := newKnown(t, 1)
	require.Equal(t, 1, e.enter("a", 1))
	got := make(chan bool)
	for range 2 {
		go func() { got <- e.again(t.Context(), "a", false) }()
	}
	require.Eventually(t, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.known["a"].waiters) == 2 }, time.Minute, time.Millisecond)
	e.learn("a", webhook.Outcome{StatusCode: http.StatusServiceUnavailable, SlowDown: true, RetryAfter: time.Second})
	e.leave("a", 1)
	require.False(t, <-got)
	require.False(t, <-got)
	require.False(t, e.again(t.Context(), "a", false), "and so is who comes then")
	e.clock.Advance(time.Second)
	require.True(t, e.again(t.Context(), "a", false))
}

func TestAPlaceThatIsPromisedIsNobodyElses(t *testing.T) {
	e := newKnown(t, 2)
	require.True(t, e.expect("a", false))
	require.Equal(t, 1, e.room("a"))
	require.Equal(t, 1, e.enter("a", 2))
	require.False(t, e.expect("a", false), "there is no more")
	for range 2 * ahead {
		require.True(t, e.expect("a", true), "but for lanes that wait")
	}
	require.False(t, e.expect("a", true))
	require.Zero(t, e.enter("a", 1))

	// Whoever comes for what was promised has it, however many are still to come.
	require.True(t, e.again(t.Context(), "a", true))
	require.False(t, e.leave("a", 1), "others are expected")
	require.True(t, e.again(t.Context(), "a", false), "a lane that is held need not wait for those")
	for range 2 * ahead {
		e.unexpect("a")
	}
	e.leave("a", 1)
	require.True(t, e.leave("a", 1))
	require.Empty(t, e.known)
}

func TestNoPlaceIsPromisedAtAReceiverThatIsNotWell(t *testing.T) {
	e := newKnown(t, 4)
	require.True(t, e.expect("a", true))
	e.exchange(tripAfter, failed)
	require.False(t, e.expect("a", true))
	require.False(t, e.again(t.Context(), "a", true), "nor is a promise kept")
	e.clock.Advance(minProbe)
	require.False(t, e.expect("a", true), "a probe is for the claimer to make")
	require.Equal(t, 1, e.enter("a", 4))
}

package deliveries

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

func TestADeadEndpointCostsOneProbeAtATimeWithGrowingWaits(t *testing.T) {
	e := newKnown(t, 64)
	e.exchange(tripAfter-1, failed)
	require.Equal(t, 64, e.room("a"))
	require.Zero(t, e.tripped())
	require.Equal(t, 1, e.enter("a", 1))
	require.Equal(t, 3, e.enter("a", 3), "these are on their way")
	e.learn("a", failed)
	require.Equal(t, 1, e.tripped())
	e.leave("a", 1)
	for range 3 {
		e.clock.Advance(minProbe)
		require.Zero(t, e.room("a"), "not while any is on its way")
		e.learn("a", failed)
		e.leave("a", 1)
	}
	wait := minProbe // what began before it opened makes the wait no longer
	for range 12 {
		require.Equal(t, 1, e.room("a"))
		require.Equal(t, 1, e.enter("a", 64))
		require.Zero(t, e.enter("a", 1), "one at a time")
		e.learn("a", failed)
		e.leave("a", 1)
		wait = min(2*wait, maxProbe)
		e.clock.Advance(wait - 1)
		require.Zero(t, e.room("a"))
		e.clock.Advance(1)
	}
	require.Equal(t, maxProbe, wait)
	require.Equal(t, 1, e.enter("a", 1))
	require.False(t, e.again(t.Context(), "a", false), "nobody waits for the end of a probe")
	e.leave("a", 1)
	require.Equal(t, 1, e.room("a"), "a probe that was not made can be made")
	e.exchange(1, taken)
	require.Zero(t, e.tripped())
	require.Equal(t, 2, e.room("a"), "what has piled up comes little by little")
	e.exchange(62, taken)
	require.Equal(t, 64, e.room("a"))
	require.Empty(t, e.known)
}

func TestAnOldSuccessClosesTheBreakerToo(t *testing.T) {
	e := newKnown(t, 64)
	require.Equal(t, 1, e.enter("a", 1))
	e.exchange(tripAfter, failed)
	require.Zero(t, e.room("a"))
	e.learn("a", taken)
	e.leave("a", 1)
	require.Equal(t, 2, e.room("a"))
}

func TestAnEndpointThatIsAnotherOneNowIsNotJudgedByTheOldOne(t *testing.T) {
	e := newKnown(t, 64)
	require.Equal(t, 1, e.enter("a", 1))
	e.exchange(tripAfter, failed)
	require.Zero(t, e.room("a"))
	e.reset("a")
	require.Equal(t, 63, e.room("a"))
	e.leave("a", 1)
	require.Empty(t, e.known)
	e.reset("b")
	require.Empty(t, e.known)
}

func TestAnEndpointThatAsksForItIsSlowedDown(t *testing.T) {
	e := newKnown(t, 64)
	e.exchange(1, slow)
	require.Equal(t, 32, e.room("a"))
	e.exchange(1, slow)
	require.Equal(t, 16, e.room("a"))
	e.exchange(1, taken)
	require.Equal(t, 17, e.room("a"))
	e.exchange(1, failed)
	require.Equal(t, 17, e.room("a"))
	e.exchange(47, taken)
	require.Equal(t, 64, e.room("a"))
	e.exchange(tripAfter-1, slow)
	require.Equal(t, 1, e.room("a"))
}

func TestRetryAfterIsForTheWholeEndpointWhereItIsAboutTheEndpoint(t *testing.T) {
	for status, quiet := range map[int]bool{
		http.StatusTooManyRequests: true, http.StatusServiceUnavailable: true,
		http.StatusInternalServerError: false, http.StatusBadGateway: false, http.StatusGatewayTimeout: false, http.StatusFound: false,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			e := newKnown(t, 64)
			answer := webhook.Outcome{StatusCode: status, Err: webhook.Status, RetryAfter: time.Hour}
			require.Equal(t, 3, e.enter("a", 3))
			e.learn("a", answer)
			e.leave("a", 1)
			if !quiet {
				require.Equal(t, 62, e.room("a"))
				return
			}
			require.Zero(t, e.room("a"))
			answer.RetryAfter = time.Minute
			e.learn("a", answer) // the longest counts
			e.leave("a", 1)
			e.learn("a", taken) // an earlier exchange; what was asked for still holds
			e.leave("a", 1)
			e.clock.Advance(time.Hour - 1)
			require.Zero(t, e.room("a"))
			e.clock.Advance(1)
			require.Equal(t, 64, e.room("a"))
		})
	}
}

func TestAProbeIsNotMadeWhileTheReceiverWantsQuiet(t *testing.T) {
	e := newKnown(t, 64)
	e.exchange(tripAfter-1, failed)
	e.exchange(1, webhook.Outcome{StatusCode: http.StatusTooManyRequests, SlowDown: true, RetryAfter: time.Hour})
	e.clock.Advance(time.Hour - 1)
	require.Zero(t, e.room("a"))
	e.clock.Advance(1)
	require.Equal(t, 1, e.room("a"))
}

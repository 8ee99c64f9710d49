package clock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

func TestSystemFollowsTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.System()
		before := c.Now()
		require.Equal(t, time.UTC, before.Location())

		timer := c.NewTimer(time.Minute)
		<-timer.C()
		require.Equal(t, time.Minute, c.Now().Sub(before))

		require.False(t, timer.Reset(time.Hour))
		require.True(t, timer.Stop())
		require.False(t, timer.Stop())
	})
}

func TestManualFiresAtTheMomentAndNotBefore(t *testing.T) {
	c := clock.NewManual(start)
	timer := c.NewTimer(time.Second)

	c.Advance(time.Second - 1)
	requireQuiet(t, timer)
	c.Advance(1)
	require.Equal(t, start.Add(time.Second), <-timer.C())
	require.Equal(t, start.Add(time.Second), c.Now())

	c.Advance(time.Hour)
	requireQuiet(t, timer)
}

func TestManualZeroAndNegativeTimersFireAtOnce(t *testing.T) {
	c := clock.NewManual(start)
	for _, d := range []time.Duration{0, -time.Second} {
		timer := c.NewTimer(d)
		require.Equal(t, start, <-timer.C())
		require.False(t, timer.Stop())
	}
}

func TestManualStopAndResetDropAnOldFiring(t *testing.T) {
	c := clock.NewManual(start)

	stopped := c.NewTimer(time.Second)
	require.True(t, stopped.Stop())
	c.Advance(time.Second)
	requireQuiet(t, stopped)

	fired := c.NewTimer(time.Second)
	c.Advance(time.Second)
	require.False(t, fired.Stop(), "it has fired")
	requireQuiet(t, fired)

	again := c.NewTimer(time.Second)
	c.Advance(time.Second)
	require.False(t, again.Reset(time.Minute))
	requireQuiet(t, again)
	c.Advance(time.Minute)
	require.Equal(t, c.Now(), <-again.C())

	moved := c.NewTimer(time.Second)
	require.True(t, moved.Reset(time.Hour))
	c.Advance(time.Minute)
	requireQuiet(t, moved)
}

func TestManualSetGoesBothWays(t *testing.T) {
	c := clock.NewManual(start)
	timer := c.NewTimer(time.Second)
	c.Set(start.Add(-time.Hour))
	requireQuiet(t, timer)
	require.Equal(t, start.Add(-time.Hour), c.Now())
	c.Set(start.Add(time.Second).In(time.FixedZone("west", -3*3600)))
	require.Equal(t, start.Add(time.Second), <-timer.C())
	require.Equal(t, time.UTC, c.Now().Location())
}

func TestManualAwaitTimers(t *testing.T) {
	c := clock.NewManual(start)
	done := make(chan time.Time)
	go func() {
		timer := c.NewTimer(time.Second)
		done <- <-timer.C()
	}()
	c.AwaitTimers(1)
	c.Advance(time.Second)
	require.Equal(t, start.Add(time.Second), <-done)
}

func TestWaitEndsByTimeByWakeAndByContext(t *testing.T) {
	c := clock.NewManual(start)
	ctx, stop := context.WithCancel(t.Context())
	wake, waited := make(chan struct{}), make(chan bool)
	wait := func() { waited <- clock.Wait(ctx, c, time.Second, wake) }
	go wait()
	c.AwaitTimers(1)
	c.Advance(time.Second)
	require.True(t, <-waited)
	go wait()
	wake <- struct{}{}
	require.True(t, <-waited)
	go wait()
	c.AwaitTimers(1) // that of the wait that was woken runs no more
	stop()
	require.False(t, <-waited)
	require.False(t, clock.Wait(ctx, c, 0, nil), "the time is over, and so is the context")
}

func requireQuiet(t *testing.T, timer clock.Timer) {
	t.Helper()
	select {
	case at := <-timer.C():
		require.Failf(t, "timer fired", "at %s", at)
	default:
	}
}

package record

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

// within waits for what another goroutine does.
func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		require.FailNow(t, "it did not happen")
		panic("unreachable")
	}
}

// start runs the recorder; the function that it returns stops it.
func (f *fixture) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.recorder.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(t, within(t, done))
	}
}

func TestWakeUpIsEnough(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		defer f.start(t)()
		f.converse(t, "acme", "c1", 1, 1)
		f.recorder.Wake()
		f.recorder.Wake()
		within(t, f.ledger.called)
		require.Equal(t, 1, f.ledger.total())
	})
}

// What is said right after a round waits a little and shares one call; what is said after a silence does not wait.
func TestRoundsAreApart(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.converse(t, "acme", "c1", 1, 1)
		stop := f.start(t)
		within(t, f.ledger.called)
		f.clock.AwaitTimers(1)
		for n := int64(2); n <= 4; n++ {
			f.converse(t, "acme", "c1", n, n)
			f.recorder.Wake()
		}
		f.clock.Advance(roundInterval - 1)
		require.Equal(t, 1, f.ledger.total())
		f.clock.Advance(1)
		within(t, f.ledger.called)
		require.Equal(t, 4, f.ledger.total())
		f.clock.AwaitTimers(1)
		f.clock.Advance(roundInterval)
		f.clock.AwaitTimers(1)
		f.converse(t, "acme", "c1", 5, 5)
		f.recorder.Wake()
		within(t, f.ledger.called)
		stop()
		require.Equal(t, []int{1, 3, 1}, f.ledger.calls)
	})
}

func TestPollIsEnough(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.converse(t, "acme", "c1", 1, 1)
		defer f.start(t)()
		within(t, f.ledger.called) // the first round comes before any wait
		f.converse(t, "acme", "c1", 2, 2)
		f.advanceUntilCalled(t, pollInterval)
		require.Equal(t, 2, f.ledger.total())
	})
}

// advanceUntilCalled moves the clock on, step by step, until contacts is called: the recorder may not have begun to wait yet.
func (f *fixture) advanceUntilCalled(t *testing.T, step time.Duration) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		f.clock.Advance(step)
		select {
		case <-f.ledger.called:
			return
		case <-deadline:
			require.FailNow(t, "contacts was not called")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestFailuresAreBackedOffFrom(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.ledger.set(func() { f.ledger.away = codes.Unavailable })
		f.converse(t, "acme", "c1", 1, 1)
		stop := f.start(t)
		within(t, f.ledger.called)
		f.recorder.Wake()
		for range 5 {
			f.advanceUntilCalled(t, 10*time.Millisecond)
		}
		require.GreaterOrEqual(t, f.clock.Now().Sub(start), minBackoff*(1+2+4+8+16), "the waits double, whoever wakes it")
		f.ledger.set(func() { f.ledger.away = codes.OK })
		f.advanceUntilCalled(t, maxBackoff)
		stop()
		require.Equal(t, 1, f.ledger.total())
		require.Contains(t, f.logs.String(), "turns could not be recorded")
	})
}

func TestStoppedRecorderGivesItsLeaseBack(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.converse(t, "acme", "c1", 1, 1)
		stop := f.start(t)
		within(t, f.ledger.called)
		stop()
		f.converse(t, "acme", "c1", 2, 2)
		second := f.newRecorder(t, f.store, "h2", nil)
		require.NoError(t, second.runOnce(t.Context()))
		require.Equal(t, []int64{1, 2}, f.ledger.kept["acme/c1"])
	})
}

func TestStoppedRecorderStopsAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.start(t)()
		f.start(t)()
		require.Equal(t, "agent-recorder", f.recorder.Name())
	})
}

// What one process commits and another one has to record is recorded at once if it is told.
func TestHolderHearsOfTurnsElsewhere(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.converse(t, "acme", "c1", 1, 1)
		defer f.start(t)()
		within(t, f.ledger.called)
		f.clock.AwaitTimers(1)
		f.clock.Advance(roundInterval)
		second := f.newRecorder(t, f.store, "h2", nil)
		told := 0
		second.Elsewhere = func() {
			told++
			f.recorder.WakeHere()
		}
		f.converse(t, "acme", "c1", 2, 2)
		second.Wake()
		require.Zero(t, told, "it does not know yet that another one has the lease")
		require.ErrorIs(t, second.runOnce(t.Context()), errNotHolder)
		second.Wake()
		require.Equal(t, 1, told)
		within(t, f.ledger.called)
		require.Equal(t, 2, f.ledger.total())
	})
}

// The recorder takes over at once when it hears that the other one's lease was taken back.
func TestFreedLeaseIsTaken(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		first := f.newRecorder(t, f.store, "h0", nil)
		f.converse(t, "acme", "c1", 1, 1)
		require.NoError(t, first.runOnce(t.Context()))
		within(t, f.ledger.called)
		f.converse(t, "acme", "c1", 2, 2)
		defer f.start(t)()
		f.clock.AwaitTimers(1) // it has found that another one has the lease
		_, err := f.db.Exec1(t.Context(), "UPDATE worker_lease SET expire_time = 0 WHERE instance = ''")
		require.NoError(t, err)
		f.recorder.Freed()
		within(t, f.ledger.called)
		require.Equal(t, 2, f.ledger.total())
	})
}

package ratelimit

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTakeAtTheLimitAndOnePast(t *testing.T) {
	manual := clock.NewManual(start)
	l := New(Window{Limit: 3, Per: time.Second}, manual)
	for i := range 3 {
		d := l.Take("a")
		require.True(t, d.Allowed)
		require.Equal(t, 2-i, d.Remaining)
		manual.Advance(100 * time.Millisecond)
	}
	d := l.Take("a")
	require.False(t, d.Allowed)
	require.Equal(t, 700*time.Millisecond, d.RetryAfter)
	require.Equal(t, 0, d.Remaining)
	require.True(t, l.Take("b").Allowed, "keys do not share a limit")

	manual.Advance(d.RetryAfter - 1)
	require.False(t, l.Take("a").Allowed, "a nanosecond early")
	manual.Advance(1)
	require.True(t, l.Take("a").Allowed, "RetryAfter is exact")
	require.False(t, l.Take("a").Allowed, "one place only")
}

func TestRefusedCallsDoNotCount(t *testing.T) {
	manual := clock.NewManual(start)
	l := New(Window{Limit: 1, Per: time.Second}, manual)
	require.True(t, l.Take("a").Allowed)
	for range 9 {
		manual.Advance(100 * time.Millisecond)
		require.False(t, l.Take("a").Allowed)
	}
	manual.Advance(100 * time.Millisecond)
	require.True(t, l.Take("a").Allowed)
}

// TestNoWindowEverHoldsMore drives a limiter with calls at random times and looks at every window of what it allowed, and that it
// refused none that had room.
func TestNoWindowEverHoldsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		manual := clock.NewManual(start)
		l := New(Window{Limit: limit, Per: time.Second}, manual)
		var allowed []time.Time
		inWindow := func(now time.Time) (n int) {
			for _, at := range allowed {
				if now.Sub(at) < time.Second {
					n++
				}
			}
			return n
		}
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			manual.Advance(time.Duration(rapid.IntRange(0, 300).Draw(t, "pause")) * time.Millisecond)
			before := inWindow(manual.Now())
			d := l.Take("a")
			require.Equal(t, before < limit, d.Allowed)
			if d.Allowed {
				allowed = append(allowed, manual.Now())
				require.Equal(t, limit-before-1, d.Remaining)
				require.Zero(t, d.RetryAfter)
			} else {
				require.Positive(t, d.RetryAfter)
			}
			require.LessOrEqual(t, inWindow(manual.Now()), limit)
		}
	})
}

func TestIdleKeysAreForgotten(t *testing.T) {
	manual := clock.NewManual(start)
	l := New(Window{Limit: 2, Per: time.Second}, manual)
	for i := range 1000 {
		l.Take(fmt.Sprint(i))
	}
	require.Len(t, l.keys, 1000)
	manual.Advance(999 * time.Millisecond)
	l.Take("late")
	manual.Advance(time.Millisecond)
	l.Take("later")
	require.Len(t, l.keys, 2, "only those that still count are kept")
}

func TestKeysAreBounded(t *testing.T) {
	l := New(Window{Limit: 2, Per: time.Second}, clock.NewManual(start))
	l.limit = 10
	for i := range 100 {
		require.True(t, l.Take(fmt.Sprint(i)).Allowed)
		require.LessOrEqual(t, len(l.keys), 10)
	}
}

func TestConcurrentCallsKeepTheLimit(t *testing.T) {
	l := New(Window{Limit: 10, Per: time.Second}, clock.NewManual(start))
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		allowed int
	)
	for range 50 {
		wg.Go(func() {
			if l.Take("a").Allowed {
				mu.Lock()
				allowed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(t, 10, allowed)
}

func TestClockThatStepsBack(t *testing.T) {
	manual := clock.NewManual(start)
	l := New(Window{Limit: 1, Per: time.Second}, manual)
	require.True(t, l.Take("a").Allowed)
	manual.Set(start.Add(-time.Hour))
	require.False(t, l.Take("a").Allowed, "rather refused than over the limit")
	manual.Set(start.Add(time.Second))
	require.True(t, l.Take("a").Allowed)
}

func TestWindowWithoutALimitIsAMistake(t *testing.T) {
	require.Panics(t, func() { New(Window{Limit: 0, Per: time.Second}, clock.NewManual(start)) })
	require.Panics(t, func() { New(Window{Limit: 1}, clock.NewManual(start)) })
}

func BenchmarkTake(b *testing.B) {
	l := New(Window{Limit: 20, Per: time.Second}, clock.System())
	b.ReportAllocs()
	for b.Loop() {
		l.Take("a")
	}
}

package quotatest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
)

// span is how long RunTwo asks, and tries how often at most.
const (
	span  = 3 * time.Second
	tries = 3
)

// RunTwo has two counters over one count asked as fast as they answer, by the machine's clock: no span of a second may hold more
// than ten calls, and there must be as many as that allows, but for 2 %. A busy machine can take calls away and never add one, so
// one try of three has to show the latter. Then both use up one day.
func RunTwo(t *testing.T, one, other quota.Counter) {
	t.Helper()
	most := 0
	for try := 0; try < tries && float64(most) < 0.98*10*span.Seconds(); try++ {
		most = max(most, hammer(t, one, other))
	}
	require.GreaterOrEqual(t, float64(most), 0.98*10*span.Seconds(), "%d calls were allowed in %s", most, span)

	const perDay = 500
	var granted atomic.Int64
	both(t, one, other, func(ctx context.Context, counter quota.Counter) bool {
		tally, err := counter.Take(ctx, quota.Ask{Subject: Key("2"), Limits: quota.Limits{PerDay: perDay}, Day: day})
		if err == nil && tally.Allowed {
			granted.Add(1)
		}
		return err == nil && tally.Allowed
	})
	require.Equal(t, int64(perDay), granted.Load())
}

// hammer has both counters asked for a while, and gives how many calls they allowed.
func hammer(t *testing.T, one, other quota.Counter) int {
	t.Helper()
	type call struct{ began, ended time.Time }
	system := clock.System()
	var mu sync.Mutex
	var allowed []call // in the order of their ends
	refused, ends := 0, system.Now().Add(span)
	both(t, one, other, func(ctx context.Context, counter quota.Counter) bool {
		began := system.Now()
		tally, err := counter.Take(ctx, quota.Ask{Subject: Key("1"), Limits: quota.Limits{PerSecond: 10, PerDay: 50_000}, Day: day})
		mu.Lock()
		defer mu.Unlock()
		if err == nil && tally.Allowed {
			allowed = append(allowed, call{began, system.Now()})
		} else {
			refused++
		}
		return system.Now().Before(ends)
	})
	for last := 10; last < len(allowed); last++ {
		// Each was judged somewhere between its begin and its end.
		first := allowed[last].began
		for _, c := range allowed[last-10 : last] {
			if c.began.Before(first) {
				first = c.began
			}
		}
		require.GreaterOrEqual(t, allowed[last].ended.Sub(first), time.Second, "eleven calls in a second")
	}
	t.Logf("%d calls allowed in %s, %d refused", len(allowed), span, refused)
	return len(allowed)
}

// both runs a step again and again for two callers of each counter until it says that it is enough.
func both(t *testing.T, one, other quota.Counter, step func(ctx context.Context, counter quota.Counter) (goOn bool)) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var callers sync.WaitGroup
	for _, counter := range []quota.Counter{one, other, one, other} {
		callers.Go(func() {
			for step(ctx, counter) {
			}
		})
	}
	callers.Wait()
}

// RunSetBack sets the clock of a counter back by an hour.
func RunSetBack(t *testing.T, counter quota.Counter, goBy func(clock.Clock)) {
	t.Helper()
	c := clock.NewManual(Start)
	goBy(c)
	take := func() quota.Tally {
		tally, err := counter.Take(t.Context(), ask(1, 0))
		require.NoError(t, err)
		return tally
	}
	require.True(t, take().Allowed)
	c.Set(Start.Add(-quota.Window))
	require.False(t, take().Allowed, "what is a second ahead may be another one's haste")
	c.Set(Start.Add(-time.Hour))
	require.True(t, take().Allowed)
	require.False(t, take().Allowed)
}

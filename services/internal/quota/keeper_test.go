package quota_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/quotatest"
)

// shared is a counter for several keepers that can be out of reach, and remembers what it was asked.
type shared struct {
	quota.Counter
	err  error
	asks []quota.Ask
}

var errGone = errors.New("connection refused")

func (s *shared) Take(ctx context.Context, ask quota.Ask) (quota.Tally, error) {
	s.asks = append(s.asks, ask)
	if s.err != nil {
		return quota.Tally{}, s.err
	}
	return s.Counter.Take(ctx, ask)
}

// fixture is a process, or some.
type fixture struct {
	clock   *clock.Manual
	shared  *shared
	zone    *time.Location
	zoneErr error
	logs    bytes.Buffer
	metrics *prometheus.Registry
	keeper  *quota.Keeper
}

func newFixture(t *testing.T) *fixture {
	c := clock.NewManual(quotatest.Start)
	f := &fixture{
		clock: c, shared: &shared{Counter: quota.NewLocal(new(quotatest.Ledger), c)}, zone: zone(t, "America/Sao_Paulo"),
		metrics: prometheus.NewRegistry(),
	}
	f.keeper = f.another(t, f.metrics)
	return f
}

// another is one more process.
func (f *fixture) another(t *testing.T, metrics prometheus.Registerer) *quota.Keeper {
	keeper, err := quota.NewKeeper(quota.KeeperDeps{
		Counter: f.shared, Clock: f.clock, Logger: slog.New(slog.NewTextHandler(&f.logs, nil)), Metrics: metrics,
		Zone: func(_ context.Context, instance string) (*time.Location, error) {
			require.Equal(t, "acme", instance)
			return f.zone, f.zoneErr
		},
	})
	require.NoError(t, err)
	return keeper
}

func (f *fixture) take(t *testing.T, k *quota.Keeper, l quota.Limits) quota.Verdict {
	t.Helper()
	verdict, err := k.Take(t.Context(), quotatest.Key("1"), l)
	require.NoError(t, err)
	return verdict
}

func TestACallIsOneQuestionAndARefusalIsRemembered(t *testing.T) {
	f := newFixture(t)
	for i := range 10 {
		verdict := f.take(t, f.keeper, limits)
		require.True(t, verdict.Allowed)
		require.Equal(t, 9-i, verdict.Windows[0].Remaining)
	}
	require.Len(t, f.shared.asks, 10)
	f.clock.Advance(250 * time.Millisecond)
	for range 1000 {
		verdict := f.take(t, f.keeper, limits)
		require.False(t, verdict.Allowed)
		require.Equal(t, quota.Window-250*time.Millisecond, verdict.RetryAfter)
	}
	require.Len(t, f.shared.asks, 11, "the first refusal holds for the others")
	other := f.another(t, nil)
	require.False(t, f.take(t, other, limits).Allowed)
	f.clock.Advance(quota.Window - 250*time.Millisecond - 1)
	require.False(t, f.take(t, f.keeper, limits).Allowed)
	require.Len(t, f.shared.asks, 12)
	f.clock.Advance(1)
	require.True(t, f.take(t, other, limits).Allowed)
	require.InDelta(t, 10, testutil.ToFloat64(counted(t, f.metrics, "allowed")), 0)
	require.InDelta(t, 1001, testutil.ToFloat64(counted(t, f.metrics, "refused")), 0)
}

// counted is the counter of a result.
func counted(t *testing.T, metrics *prometheus.Registry, result string) prometheus.Collector {
	t.Helper()
	families, err := metrics.Gather()
	require.NoError(t, err)
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "found"})
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "prosa_quota_calls_total" && m.GetLabel()[1].GetValue() == result {
				require.Equal(t, "contacts", m.GetLabel()[0].GetValue())
				gauge.Set(m.GetCounter().GetValue())
			}
		}
	}
	return gauge
}

func TestHeaders(t *testing.T) {
	f := newFixture(t)
	verdict := f.take(t, f.keeper, limits)
	require.Equal(t, `"second";q=10;w=1, "day";q=50000;w=86400`, verdict.Policy())
	// It is 9 o'clock in São Paulo: 15 hours, less the fraction of a second, until midnight.
	require.Equal(t, `"second";r=9;t=1, "day";r=49999;t=54000`, verdict.Field())
	verdict = f.take(t, f.keeper, quota.Limits{PerDay: 1})
	require.Equal(t, `"day";r=0;t=54000`, verdict.Field())
	require.False(t, verdict.Allowed)
	verdict, err := f.keeper.Take(t.Context(), quotatest.Key("2"), quota.Limits{PerSecond: 20})
	require.NoError(t, err)
	require.Equal(t, `"second";q=20;w=1`, verdict.Policy())
	require.Equal(t, `"second";r=19;t=1`, verdict.Field())
}

func TestTheDayIsThatOfTheInstance(t *testing.T) {
	day := quota.Limits{PerDay: 2}
	for name, test := range map[string]struct {
		zone, now string
		left      time.Duration
	}{
		"afternoon":                {"America/Sao_Paulo", "2026-03-01T12:00:00Z", 15 * time.Hour},
		"ahead":                    {"Pacific/Kiritimati", "2026-03-01T09:59:00Z", time.Minute},
		"clocks go forward":        {"America/New_York", "2026-03-08T05:00:00Z", 23 * time.Hour},
		"clocks go back":           {"America/New_York", "2026-11-01T04:00:00Z", 25 * time.Hour},
		"midnight is left out":     {"America/Sao_Paulo", "2018-11-04T02:00:00Z", time.Hour},
		"the evening is had twice": {"America/Sao_Paulo", "2019-02-17T01:00:00Z", 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.zone = zone(t, test.zone)
			now, err := time.Parse(time.RFC3339, test.now)
			require.NoError(t, err)
			f.clock.Set(now)
			for range 2 {
				require.True(t, f.take(t, f.keeper, day).Allowed)
			}
			verdict := f.take(t, f.keeper, day)
			require.False(t, verdict.Allowed)
			require.Equal(t, test.left, verdict.RetryAfter)
			require.Len(t, f.shared.asks, 2, "that a day is used up needs no question")
			f.clock.Advance(test.left - 1)
			require.False(t, f.take(t, f.keeper, day).Allowed, "a nanosecond before midnight")
			f.clock.Advance(1)
			for range 2 {
				require.True(t, f.take(t, f.keeper, day).Allowed)
			}
			require.False(t, f.take(t, f.keeper, day).Allowed)
		})
	}
}

func TestTheCountIsGoneAndComesBack(t *testing.T) {
	f := newFixture(t)
	other := f.another(t, nil)
	for range 10 {
		require.True(t, f.take(t, f.keeper, limits).Allowed)
	}
	f.clock.Advance(500 * time.Millisecond)
	f.shared.err = errGone
	verdict := f.take(t, other, limits)
	require.False(t, verdict.Allowed, "this process cannot know what others let through in this second")
	require.Equal(t, quota.Window, verdict.RetryAfter)
	require.Contains(t, f.logs.String(), "level=WARN")
	require.Contains(t, f.logs.String(), "connection refused")

	// On its own it lets one call a second through, and asks once a second whether the count is back.
	asked := len(f.shared.asks)
	allowed := 0
	for range 100 {
		f.clock.Advance(100 * time.Millisecond)
		verdict := f.take(t, other, limits)
		if verdict.Allowed {
			allowed++
		}
		require.Equal(t, 0, verdict.Windows[0].Remaining)
	}
	require.InDelta(t, 9, allowed, 1)
	require.InDelta(t, 10, len(f.shared.asks)-asked, 5)
	require.Equal(t, 1, bytes.Count(f.logs.Bytes(), []byte("cannot be reached")), "one line for the whole time")

	// When it is back, as little is let through for a while, and what was let through is counted; then all that there is.
	f.shared.err = nil
	before := allowed
	for step := range 700 {
		f.clock.Advance(10 * time.Millisecond)
		if f.take(t, other, limits).Allowed {
			allowed++
		}
		if step == 390 {
			require.InDelta(t, 4, allowed-before, 1)
		}
	}
	require.Contains(t, f.logs.String(), "can be reached again")
	n, err := f.shared.Counter.(*quota.Local).Used(t.Context(), day, []quota.Subject{quotatest.Key("1")})
	require.NoError(t, err)
	require.Equal(t, int64(10+allowed), n[0], "nothing that was let through is forgotten")
	require.Greater(t, allowed, before+4+10)
}

func TestAloneADayHasATenth(t *testing.T) {
	f := newFixture(t)
	f.shared.err = errGone
	allowed := 0
	for range 100 {
		verdict := f.take(t, f.keeper, quota.Limits{PerSecond: 10, PerDay: 50})
		if verdict.Allowed {
			allowed++
		}
		f.clock.Advance(2 * quota.Window)
	}
	require.Equal(t, 5, allowed)
	verdict := f.take(t, f.keeper, quota.Limits{PerSecond: 10, PerDay: 50})
	require.Greater(t, verdict.RetryAfter, time.Hour, "until midnight")
}

func TestAloneLowLimitsAreLowerStill(t *testing.T) {
	f := newFixture(t)
	f.shared.err = errGone
	var times []time.Time
	for range 200 {
		if f.take(t, f.keeper, quota.Limits{PerSecond: 2}).Allowed {
			times = append(times, f.clock.Now())
		}
		f.clock.Advance(100 * time.Millisecond)
	}
	require.NotEmpty(t, times)
	for i := 1; i < len(times); i++ {
		require.GreaterOrEqual(t, times[i].Sub(times[i-1]), 5*time.Second, "a tenth of two a second")
	}
}

// TestNoSecondHoldsMoreWhenTheCountComesAndGoes has two processes and a count that comes and goes.
func TestNoSecondHoldsMoreWhenTheCountComesAndGoes(t *testing.T) {
	f := newFixture(t)
	keepers := []*quota.Keeper{f.keeper, f.another(t, nil), f.another(t, nil)}
	var times []time.Time
	for step := range 8000 {
		f.shared.err = nil
		if step/740%2 == 1 {
			f.shared.err = errGone
		}
		f.clock.Advance(11 * time.Millisecond)
		if f.take(t, keepers[step%len(keepers)], limits).Allowed {
			times = append(times, f.clock.Now())
		}
	}
	require.Greater(t, len(times), 200)
	for i := 10; i < len(times); i++ {
		require.GreaterOrEqual(t, times[i].Sub(times[i-10]), time.Second)
	}
}

// TestOneNoticesFirstThatTheCountIsBack has the count come back empty, and one process notice it while the other still lets a call through by
// itself: not both of it, and all that there is, in one second.
func TestOneNoticesFirstThatTheCountIsBack(t *testing.T) {
	for late := range 40 {
		f := newFixture(t)
		keepers := []*quota.Keeper{f.keeper, f.another(t, nil)}
		var times []time.Time
		take := func(k *quota.Keeper) {
			if f.take(t, k, limits).Allowed {
				times = append(times, f.clock.Now())
			}
		}
		f.shared.err = errGone
		for step := range 300 { // their pauses are not at the same time
			f.clock.Advance(10 * time.Millisecond)
			if step >= late {
				take(keepers[1])
			}
			take(keepers[0])
		}
		f.shared.err, f.shared.Counter = nil, quota.NewLocal(new(quotatest.Ledger), f.clock)
		for range 800 {
			f.clock.Advance(10 * time.Millisecond)
			take(keepers[0])
			take(keepers[1])
		}
		require.Greater(t, len(times), 30, "it has all that there is in the end")
		for i := 10; i < len(times); i++ {
			require.GreaterOrEqual(t, times[i].Sub(times[i-10]), time.Second)
		}
	}
}

func TestWhoLeavesIsNoSignThatTheCountIsGone(t *testing.T) {
	f := newFixture(t)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	f.shared.err = context.Canceled
	_, err := f.keeper.Take(ctx, quotatest.Key("1"), limits)
	require.ErrorIs(t, err, context.Canceled)
	f.shared.err = nil
	require.True(t, f.take(t, f.keeper, limits).Allowed)
	require.Empty(t, f.logs.String())
}

func TestWithoutItsZoneAnInstanceKeepsTheOneBefore(t *testing.T) {
	f := newFixture(t)
	f.clock.Set(time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC))
	f.take(t, f.keeper, limits)
	f.zone, f.zoneErr = nil, errGone
	f.take(t, f.keeper, limits)
	require.Equal(t, f.shared.asks[0].Day, f.shared.asks[1].Day)
	require.Equal(t, int64(day-1), f.shared.asks[1].Day)
	_, err := f.keeper.Take(t.Context(), quotatest.Key("2"), limits)
	require.NoError(t, err)
	require.Equal(t, int64(day), f.shared.asks[2].Day, "UTC for who was never seen")
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	f := newFixture(t)
	_, err := quota.NewKeeper(quota.KeeperDeps{Counter: f.shared, Clock: f.clock, Metrics: f.metrics})
	require.Error(t, err)
}

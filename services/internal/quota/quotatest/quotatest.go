// Package quotatest is what must hold for every counter of calls, wherever it counts, and what tests of its users need.
package quotatest

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
)

// Start is when the clock of a contract begins.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// day is the day of the asks.
const day = 20_513

// Counts can count and be read.
type Counts interface {
	quota.Counter
	quota.Reader
}

// Run runs the contract. open makes a counter that has counted nothing yet, and goes by the clock.
func Run(t *testing.T, open func(t *testing.T, c clock.Clock) Counts) {
	for name, test := range map[string]func(t *testing.T, f *fixture){
		"AtTheLimitASecondAndOnePast":    secondAtTheLimitAndOnePast,
		"TheSecondSlides":                secondSlides,
		"AtTheLimitADayAndOnePast":       dayAtTheLimitAndOnePast,
		"TheNextDayBeginsAnew":           nextDayBeginsAnew,
		"TheSecondGoesOnOverMidnight":    secondGoesOnOverMidnight,
		"ADayThatHasBegunDoesNotEnd":     begunDayStays,
		"AWrongClockLocksNobodyOut":      wrongClockLocksNobodyOut,
		"SubjectsDoNotShare":             subjectsDoNotShare,
		"WithoutALimitCallsAreCounted":   withoutALimit,
		"WhatWasForgottenIsGivenBack":    floorAndAdd,
		"LimitsMayChange":                limitsMayChange,
		"ConcurrentCallsAreCountedRight": concurrentCalls,
		"NoSpanHoldsMore":                noSpanHoldsMore,
	} {
		t.Run(name, func(t *testing.T) {
			c := clock.NewManual(Start)
			test(t, &fixture{clock: c, counts: open(t, c)})
		})
	}
}

type fixture struct {
	clock  *clock.Manual
	counts Counts
}

// Key is a subject of the contract's.
func Key(id string) quota.Subject {
	return quota.Subject{Instance: "acme", Key: "00000000000000000000000" + id, Kind: "contacts"}
}

func ask(perSecond, perDay int) quota.Ask {
	return quota.Ask{Subject: Key("1"), Limits: quota.Limits{PerSecond: perSecond, PerDay: perDay}, Day: day}
}

func (f *fixture) take(t *testing.T, a quota.Ask) quota.Tally {
	t.Helper()
	tally, err := f.counts.Take(t.Context(), a)
	require.NoError(t, err)
	return tally
}

func (f *fixture) used(t *testing.T, day int64, subjects ...quota.Subject) []int64 {
	t.Helper()
	used, err := f.counts.Used(t.Context(), day, subjects)
	require.NoError(t, err)
	return used
}

func secondAtTheLimitAndOnePast(t *testing.T, f *fixture) {
	for i := range 3 {
		tally := f.take(t, ask(3, 100))
		require.True(t, tally.Allowed)
		require.Equal(t, quota.Tally{
			Allowed: true, Day: day, Used: int64(i + 1), Recent: i + 1, Reset: quota.Window - time.Duration(i)*100*time.Millisecond,
		}, tally)
		f.clock.Advance(100 * time.Millisecond)
	}
	require.Equal(t, quota.Tally{Day: day, Used: 3, Recent: 3, Reset: quota.Window - 300*time.Millisecond}, f.take(t, ask(3, 100)), "one past")
	f.clock.Advance(quota.Window - 300*time.Millisecond - time.Microsecond)
	require.Equal(t, quota.Tally{Day: day, Used: 3, Recent: 3, Reset: time.Microsecond}, f.take(t, ask(3, 100)), "a microsecond early")
	f.clock.Advance(time.Microsecond)
	require.Equal(t, quota.Tally{Allowed: true, Day: day, Used: 4, Recent: 3, Reset: 100 * time.Millisecond}, f.take(t, ask(3, 100)))
	require.False(t, f.take(t, ask(3, 100)).Allowed, "one place only")
	require.Equal(t, []int64{4}, f.used(t, day, Key("1")), "refused calls do not count")
}

func secondSlides(t *testing.T, f *fixture) {
	f.clock.Advance(999 * time.Millisecond)
	for range 2 {
		require.True(t, f.take(t, ask(2, 0)).Allowed)
	}
	f.clock.Advance(2 * time.Millisecond)
	require.False(t, f.take(t, ask(2, 0)).Allowed, "another second of the clock is not another second")
}

func dayAtTheLimitAndOnePast(t *testing.T, f *fixture) {
	for i := range 5 {
		require.Equal(t, int64(i+1), f.take(t, ask(0, 5)).Used)
	}
	for range 3 {
		require.Equal(t, quota.Tally{Day: day, Used: 5}, f.take(t, ask(0, 5)))
	}
	require.Equal(t, []int64{5}, f.used(t, day, Key("1")))
}

func nextDayBeginsAnew(t *testing.T, f *fixture) {
	for range 5 {
		f.take(t, ask(0, 5))
	}
	f.clock.Advance(24 * time.Hour)
	tomorrow := ask(0, 5)
	tomorrow.Day++
	require.Equal(t, []int64{0}, f.used(t, tomorrow.Day, Key("1")), "nothing counts before the first call")
	require.Equal(t, quota.Tally{Allowed: true, Day: day + 1, Used: 1}, f.take(t, tomorrow))
	require.Equal(t, []int64{1}, f.used(t, tomorrow.Day, Key("1")))
}

func secondGoesOnOverMidnight(t *testing.T, f *fixture) {
	require.True(t, f.take(t, ask(1, 5)).Allowed)
	f.clock.Advance(time.Millisecond)
	tomorrow := ask(1, 5)
	tomorrow.Day++
	require.False(t, f.take(t, tomorrow).Allowed)
	f.clock.Advance(quota.Window - time.Millisecond)
	require.Equal(t, quota.Tally{Allowed: true, Day: day + 1, Used: 1, Recent: 1, Reset: quota.Window}, f.take(t, tomorrow))
}

func begunDayStays(t *testing.T, f *fixture) {
	tomorrow := ask(0, 2)
	tomorrow.Day++
	require.True(t, f.take(t, tomorrow).Allowed)
	require.Equal(t, quota.Tally{Allowed: true, Day: day + 1, Used: 2}, f.take(t, ask(0, 2)), "who is behind counts on the day that has begun")
	require.Equal(t, quota.Tally{Day: day + 1, Used: 2}, f.take(t, ask(0, 2)))
	require.Equal(t, []int64{2}, f.used(t, day, Key("1")))
}

func wrongClockLocksNobodyOut(t *testing.T, f *fixture) {
	wrong := ask(0, 1)
	wrong.Day += 3
	require.True(t, f.take(t, wrong).Allowed)
	require.Equal(t, quota.Tally{Allowed: true, Day: day, Used: 1}, f.take(t, ask(0, 1)))
}

func subjectsDoNotShare(t *testing.T, f *fixture) {
	subjects := []quota.Subject{Key("1"), Key("2"), Key("1"), Key("1")}
	subjects[2].Instance, subjects[3].Kind = "other", "conversations"
	for _, s := range subjects {
		a := ask(1, 1)
		a.Subject = s
		require.True(t, f.take(t, a).Allowed)
		require.False(t, f.take(t, a).Allowed)
	}
	require.Equal(t, []int64{1, 1, 0}, f.used(t, day, Key("1"), Key("2"), Key("3")))
	require.Empty(t, f.used(t, day))
}

func withoutALimit(t *testing.T, f *fixture) {
	for i := range 30 {
		require.Equal(t, quota.Tally{Allowed: true, Day: day, Used: int64(i + 1)}, f.take(t, ask(0, 0)))
	}
}

func floorAndAdd(t *testing.T, f *fixture) {
	a := ask(0, 10)
	a.Floor, a.Add = 4, 2
	require.Equal(t, quota.Tally{Allowed: true, Day: day, Used: 7}, f.take(t, a))
	a.Floor, a.Add = 3, 0
	require.Equal(t, int64(8), f.take(t, a).Used, "what is counted already is not counted again")
	a.Add = 2
	require.Equal(t, quota.Tally{Day: day, Used: 8}, f.take(t, a), "refused, and not added")
	a.Add = 1
	require.Equal(t, quota.Tally{Allowed: true, Day: day, Used: 10}, f.take(t, a))
}

func limitsMayChange(t *testing.T, f *fixture) {
	for range 4 {
		require.True(t, f.take(t, ask(4, 100)).Allowed)
	}
	require.False(t, f.take(t, ask(2, 100)).Allowed)
	require.True(t, f.take(t, ask(5, 100)).Allowed)
	f.clock.Advance(quota.Window)
	require.True(t, f.take(t, ask(2, 100)).Allowed)
	require.True(t, f.take(t, ask(2, 100)).Allowed)
	require.False(t, f.take(t, ask(2, 100)).Allowed)
	require.False(t, f.take(t, ask(2, 6)).Allowed)
}

func concurrentCalls(t *testing.T, f *fixture) {
	var mu sync.Mutex
	var callers sync.WaitGroup
	allowed := 0
	for range 8 {
		callers.Go(func() {
			for range 5 {
				tally, err := f.counts.Take(context.WithoutCancel(t.Context()), ask(10, 100))
				mu.Lock()
				if err == nil && tally.Allowed {
					allowed++
				}
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	require.Equal(t, 10, allowed)
	require.Equal(t, []int64{10}, f.used(t, day, Key("1")))
}

// noSpanHoldsMore has calls come at any times, and looks at every span.
func noSpanHoldsMore(t *testing.T, f *fixture) {
	seed := rand.Uint64() //nolint:forbidigo // printed
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const limit = 4
	var times []time.Time
	for range 300 {
		f.clock.Advance(time.Duration(random.IntN(200)) * time.Millisecond)
		now := f.clock.Now()
		counting := 0
		for _, at := range times {
			if now.Sub(at) < quota.Window {
				counting++
			}
		}
		tally := f.take(t, ask(limit, 0))
		require.Equal(t, counting < limit, tally.Allowed, "neither more than the limit nor less")
		if tally.Allowed {
			times = append(times, now)
		}
	}
}

// Ledger is a quota.Ledger in memory, which outlives the counters over it.
type Ledger struct {
	mu      sync.Mutex
	entries map[quota.Subject]quota.Entry
	writes  int
	err     error
}

var _ quota.Ledger = (*Ledger)(nil)

// Load gives entries.
func (l *Ledger) Load(_ context.Context, subjects []quota.Subject) ([]quota.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries := make([]quota.Entry, len(subjects))
	for i, s := range subjects {
		entries[i] = l.entries[s]
		entries[i].Subject = s
	}
	return entries, l.err
}

// Save keeps entries.
func (l *Ledger) Save(_ context.Context, entries []quota.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if l.entries == nil {
		l.entries = make(map[quota.Subject]quota.Entry)
	}
	for _, e := range entries {
		l.entries[e.Subject] = e
	}
	l.writes++
	return nil
}

// Writes is how often something was saved.
func (l *Ledger) Writes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes
}

// Fail has everything fail with err from now on; nil: no longer.
func (l *Ledger) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

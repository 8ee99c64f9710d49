package ratelimit

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestABurstAndOnePast(t *testing.T) {
	manual := clock.NewManual(start)
	b := NewBuckets(Rate{PerSecond: 10, Burst: 5}, manual)
	for range 5 {
		wait, ok := b.Take("a")
		require.True(t, ok)
		require.Zero(t, wait)
	}
	wait, ok := b.Take("a")
	require.False(t, ok)
	require.Equal(t, 100*time.Millisecond, wait)
	_, ok = b.Take("b")
	require.True(t, ok, "keys do not share a limit")

	manual.Advance(wait - 1)
	_, ok = b.Take("a")
	require.False(t, ok, "a nanosecond early")
	manual.Advance(1)
	_, ok = b.Peek("a")
	require.True(t, ok)
	_, ok = b.Peek("a")
	require.True(t, ok, "looking counts nothing")
	_, ok = b.Take("a")
	require.True(t, ok, "the wait is exact")
	_, ok = b.Peek("a")
	require.False(t, ok)
	manual.Advance(time.Hour)
	for range 5 {
		_, ok = b.Take("a")
		require.True(t, ok)
	}
	_, ok = b.Take("a")
	require.False(t, ok, "a long pause gives one burst only")
}

func TestNoSpanHoldsMoreThanBurstAndRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := Rate{PerSecond: rapid.IntRange(1, 20).Draw(t, "rate"), Burst: rapid.IntRange(1, 10).Draw(t, "burst")}
		manual := clock.NewManual(start)
		b := NewBuckets(rate, manual)
		var allowed []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			manual.Advance(time.Duration(rapid.IntRange(0, 300).Draw(t, "pause")) * time.Millisecond)
			if _, ok := b.Take("a"); ok {
				allowed = append(allowed, manual.Now())
			}
		}
		for i, first := range allowed {
			for j := i; j < len(allowed); j++ {
				most := float64(rate.Burst) + float64(rate.PerSecond)*allowed[j].Sub(first).Seconds()
				require.LessOrEqual(t, float64(j-i+1), most+0.001)
			}
		}
	})
}

func TestFullBucketsAreForgotten(t *testing.T) {
	manual := clock.NewManual(start)
	b := NewBuckets(Rate{PerSecond: 1, Burst: 2}, manual)
	for i := range 1000 {
		b.Take(fmt.Sprint(i))
	}
	require.Len(t, b.full, 1000)
	manual.Advance(2 * time.Second)
	b.Take("late")
	require.Len(t, b.full, 1)
}

func TestBucketsAreBounded(t *testing.T) {
	b := NewBuckets(Rate{PerSecond: 1, Burst: 1}, clock.NewManual(start))
	b.limit = 10
	for i := range 100 {
		_, ok := b.Take(fmt.Sprint(i))
		require.True(t, ok)
		require.LessOrEqual(t, len(b.full), 10)
	}
	for i := range 100 {
		b.Peek(fmt.Sprint("never counted", i))
	}
	require.LessOrEqual(t, len(b.full), 10)
}

func TestConcurrentCallsKeepTheRate(t *testing.T) {
	b := NewBuckets(Rate{PerSecond: 10, Burst: 10}, clock.NewManual(start))
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		allowed int
	)
	for range 50 {
		wg.Go(func() {
			if _, ok := b.Take("a"); ok {
				mu.Lock()
				allowed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(t, 10, allowed)
}

func TestNoBucketsAreNoLimit(t *testing.T) {
	var b *Buckets
	_, ok := b.Take("a")
	require.True(t, ok)
	_, ok = b.Peek("a")
	require.True(t, ok)
}

func TestARateOfNothingIsAMistake(t *testing.T) {
	require.Panics(t, func() { NewBuckets(Rate{PerSecond: 0, Burst: 1}, clock.NewManual(start)) })
	require.Panics(t, func() { NewBuckets(Rate{PerSecond: 1, Burst: 0}, clock.NewManual(start)) })
}

func BenchmarkBucketsTake(b *testing.B) {
	l := NewBuckets(Rate{PerSecond: 1000, Burst: 2000}, clock.System())
	b.ReportAllocs()
	for b.Loop() {
		l.Take("a")
	}
}

package quota_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/quotatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 20_513

var limits = quota.Limits{PerSecond: 10, PerDay: 50_000}

func TestLocalKeepsTheContract(t *testing.T) {
	quotatest.Run(t, func(_ *testing.T, c clock.Clock) quotatest.Counts { return quota.NewLocal(new(quotatest.Ledger), c) })
}

func ask(l quota.Limits) quota.Ask {
	return quota.Ask{Subject: quotatest.Key("1"), Limits: l, Day: day}
}

func take(t *testing.T, counter quota.Counter, l quota.Limits) quota.Tally {
	t.Helper()
	tally, err := counter.Take(t.Context(), ask(l))
	require.NoError(t, err)
	return tally
}

func used(t *testing.T, counts quota.Reader) int64 {
	t.Helper()
	n, err := counts.Used(t.Context(), day, []quota.Subject{quotatest.Key("1")})
	require.NoError(t, err)
	return n[0]
}

func TestAnEndInOrderLosesNothing(t *testing.T) {
	c, ledger := clock.NewManual(quotatest.Start), new(quotatest.Ledger)
	one := quota.NewLocal(ledger, c)
	for range 7 {
		require.True(t, take(t, one, limits).Allowed)
	}
	require.NoError(t, one.Close(t.Context()))
	require.Equal(t, 2, ledger.Writes(), "a block, and the end")

	c.Advance(300 * time.Millisecond)
	next := quota.NewLocal(ledger, c)
	require.Equal(t, int64(7), used(t, next))
	require.Equal(t, quota.Tally{Day: day, Used: 7, Recent: 10, Reset: quota.Window - 300*time.Millisecond}, take(t, next, limits),
		"what the second held is not known any more, so it is full")
	c.Advance(quota.Window - 300*time.Millisecond)
	require.Equal(t, int64(8), take(t, next, limits).Used)
}

func TestKillLosesTheRestOfABlockAndNoLimit(t *testing.T) {
	c, ledger := clock.NewManual(quotatest.Start), new(quotatest.Ledger)
	for range 3 {
		require.True(t, take(t, quota.NewLocal(ledger, c), quota.Limits{PerDay: 50_000}).Allowed)
		c.Advance(quota.Window)
	}
	counter := quota.NewLocal(ledger, c)
	require.Equal(t, int64(300), used(t, counter))
	require.Equal(t, quota.Tally{Day: day, Used: 300, Recent: 10, Reset: quota.Window}, take(t, counter, limits),
		"the one before may have allowed ten just now")
	c.Advance(quota.Window - 1)
	require.False(t, take(t, counter, limits).Allowed)
	c.Advance(1)
	require.Equal(t, int64(301), take(t, counter, limits).Used)
}

// TestADayWithKills is I10 for the embedded store: ten kills on one day, and the limit holds within 2 %.
func TestADayWithKills(t *testing.T) {
	c, ledger := clock.NewManual(quotatest.Start), new(quotatest.Ledger)
	counter, allowed := quota.NewLocal(ledger, c), 0
	for range 50_100 {
		if allowed%4_987 == 4_986 {
			counter = quota.NewLocal(ledger, c)
			c.Advance(quota.Window)
		}
		if take(t, counter, limits).Allowed {
			allowed++
		}
		c.Advance(quota.Window / 10)
	}
	require.LessOrEqual(t, allowed, 50_000)
	require.GreaterOrEqual(t, allowed, 49_000)
	t.Logf("%d of 50000 allowed with ten kills, %d writes", allowed, ledger.Writes())
}

func TestAfterTheEndEachCallIsWritten(t *testing.T) {
	c, ledger := clock.NewManual(quotatest.Start), new(quotatest.Ledger)
	counter := quota.NewLocal(ledger, c)
	require.NoError(t, counter.Close(t.Context()))
	require.Zero(t, ledger.Writes(), "there is nothing to say")
	for range 3 {
		require.True(t, take(t, counter, limits).Allowed)
	}
	require.Equal(t, 3, ledger.Writes())
	require.Equal(t, int64(3), used(t, quota.NewLocal(ledger, c)))
	require.NoError(t, counter.Close(t.Context()), "it may end twice")
}

func TestWhatCannotBeWrittenIsNotAllowed(t *testing.T) {
	c, ledger := clock.NewManual(quotatest.Start), new(quotatest.Ledger)
	counter, full := quota.NewLocal(ledger, c), errors.New("disk full")
	ledger.Fail(full)
	_, err := counter.Take(t.Context(), ask(limits))
	require.ErrorIs(t, err, full)
	_, err = counter.Used(t.Context(), day, []quota.Subject{quotatest.Key("1")})
	require.ErrorIs(t, err, full)
	ledger.Fail(nil)
	require.True(t, take(t, counter, quota.Limits{PerDay: 1}).Allowed)
	ledger.Fail(full)
	require.ErrorIs(t, counter.Close(t.Context()), full)
	_, err = counter.Take(t.Context(), ask(limits))
	require.ErrorIs(t, err, full, "the next block")
	ledger.Fail(nil)
	require.Equal(t, int64(2), take(t, counter, limits).Used, "what failed does not count")
}

func TestSmallLimitsLoseNothingByAKill(t *testing.T) {
	c, ledger := clock.NewManual(quotatest.Start), new(quotatest.Ledger)
	for i := range 20 {
		require.Equal(t, int64(i+1), take(t, quota.NewLocal(ledger, c), quota.Limits{PerDay: 20}).Used)
	}
	require.False(t, take(t, quota.NewLocal(ledger, c), quota.Limits{PerDay: 20}).Allowed)
}

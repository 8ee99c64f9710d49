package redisquota_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/quotatest"
	"github.com/prosa-chat/prosa/services/internal/quota/redisquota"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func open(t *testing.T, url string) *redisquota.Counter {
	t.Helper()
	counter, err := redisquota.Open(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, counter.Close()) })
	return counter
}

func TestContract(t *testing.T) {
	quotatest.Run(t, func(t *testing.T, c clock.Clock) quotatest.Counts {
		counter := open(t, testkit.Redis(t).URL)
		counter.GoBy(c.Now)
		return counter
	})
}

func TestTwoCountersShareOneCount(t *testing.T) {
	server := testkit.Redis(t)
	quotatest.RunTwo(t, open(t, server.URL), open(t, server.URL))
}

func TestAClockThatIsSetBackLocksNobodyOut(t *testing.T) {
	counter := open(t, testkit.Redis(t).URL)
	quotatest.RunSetBack(t, counter, func(c clock.Clock) { counter.GoBy(c.Now) })
}

// TestOneRoundTripACall counts what Redis was sent: how often it read from a connection.
func TestOneRoundTripACall(t *testing.T) {
	server := testkit.Redis(t)
	counter := open(t, server.URL)
	ask := quota.Ask{Subject: quotatest.Key("1"), Limits: quota.Limits{PerSecond: 10, PerDay: 50_000}, Day: 20_513}
	_, err := counter.Take(t.Context(), ask) // the first one also brings the script
	require.NoError(t, err)
	asking := -server.Stat(t, "stats", "total_reads_processed")
	before := server.Stat(t, "stats", "total_reads_processed")
	asking += before
	for range 5 {
		_, err := counter.Take(t.Context(), ask)
		require.NoError(t, err)
	}
	require.Equal(t, int64(5), server.Stat(t, "stats", "total_reads_processed")-before-asking)
	require.Equal(t, int64(6), server.Calls(t, "evalsha"))
}

func TestWhatIsGoneIsAnErrorAndComesBack(t *testing.T) {
	server := testkit.Redis(t)
	counter := open(t, server.URL)
	ask := quota.Ask{Subject: quotatest.Key("1"), Limits: quota.Limits{PerDay: 100}, Day: 20_513}
	tally, err := counter.Take(t.Context(), ask)
	require.NoError(t, err)
	server.Kill(t)
	_, err = counter.Take(t.Context(), ask)
	require.ErrorContains(t, err, "count call in Redis")
	_, err = counter.Used(t.Context(), ask.Day, []quota.Subject{ask.Subject})
	require.ErrorContains(t, err, "read counts of calls in Redis")
	server.Start(t)
	ask.Floor = tally.Used
	tally, err = counter.Take(t.Context(), ask)
	require.NoError(t, err, "the connections to the server that is gone are not used again")
	require.Equal(t, int64(2), tally.Used, "what the asker knows is not lost")
}

func TestASilentServerIsWaitedForAsLongAsTheCallerSays(t *testing.T) {
	server := testkit.Redis(t)
	counter := open(t, server.URL)
	ask := quota.Ask{Subject: quotatest.Key("1"), Day: 20_513}
	_, err := counter.Take(t.Context(), ask)
	require.NoError(t, err)
	server.Freeze(t)
	defer server.Thaw(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = counter.Take(ctx, ask)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, time.Since(began), 2*time.Second)
}

func TestCountsDoNotStayForEver(t *testing.T) {
	server := testkit.Redis(t)
	counter := open(t, server.URL)
	_, err := counter.Take(t.Context(), quota.Ask{Subject: quotatest.Key("1"), Limits: quota.Limits{PerSecond: 1}, Day: 20_513})
	require.NoError(t, err)
	require.Equal(t, int64(2), server.Stat(t, "keyspace", "expires"))
}

func TestOpenRefusesWhatIsNoURLWithoutRepeatingIt(t *testing.T) {
	for _, url := range []string{"http://u:s3cret@h", "redis://u:s3cret@h:port", "::s3cret", ""} {
		_, err := redisquota.Open(url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "s3cret")
		require.True(t, strings.HasPrefix(err.Error(), "read Redis URL"))
	}
}

// TestAProcessGoesOnWithoutRedis has a process lose Redis, with all that it held, and find it again.
func TestAProcessGoesOnWithoutRedis(t *testing.T) {
	server := testkit.Redis(t)
	c := clock.NewManual(quotatest.Start)
	counter := open(t, server.URL)
	counter.GoBy(c.Now)
	keeper, err := quota.NewKeeper(quota.KeeperDeps{
		Counter: counter, Clock: c, Logger: slog.New(slog.DiscardHandler),
		Zone: func(context.Context, string) (*time.Location, error) { return time.UTC, nil },
	})
	require.NoError(t, err)
	take := func() bool {
		verdict, err := keeper.Take(t.Context(), quotatest.Key("1"), quota.Limits{PerSecond: 10, PerDay: 50_000})
		require.NoError(t, err, "no call fails because Redis does")
		require.Len(t, verdict.Windows, 2)
		return verdict.Allowed
	}
	for range 10 {
		require.True(t, take())
	}
	server.Kill(t)
	c.Advance(quota.Window)
	require.False(t, take(), "others may have used this second up")
	alone := 0
	for range 50 {
		c.Advance(100 * time.Millisecond)
		if take() {
			alone++
		}
	}
	require.InDelta(t, 4, alone, 1, "one a second")

	server.Start(t)
	c.Advance(3 * quota.Window)
	require.True(t, take())
	require.False(t, take(), "others may not have noticed yet")
	c.Advance(5 * quota.Window)
	for range 10 {
		require.True(t, take())
	}
	require.False(t, take())
	used, err := counter.Used(t.Context(), quota.DayOf(c.Now(), time.UTC).Number, []quota.Subject{quotatest.Key("1")})
	require.NoError(t, err)
	require.Equal(t, []int64{int64(10 + alone + 1 + 10)}, used, "nothing that was counted or let through is lost")
}

package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/channel/internal/pool"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReserveGivesWhatThereIs(t *testing.T) {
	p := pool.New(16, clock.System(), time.Second)
	require.Zero(t, p.Reserve("acme", 1), "it is not open")
	require.Zero(t, p.Free())
	require.Zero(t, p.Room("acme"))
	p.Open(t.Context())
	require.Equal(t, 4, p.Reserve("acme", 4))
	require.Equal(t, 12, p.Free())
	require.Equal(t, 10, p.Reserve("acme", 100), "7 of 8 for one instance")
	require.Zero(t, p.Reserve("acme", 1))
	require.Equal(t, 2, p.Free())
	require.Equal(t, 1, p.Reserve("other", 100), "another finds a slot nevertheless")
	require.Equal(t, 1, p.Reserve("third", 100))
	require.Zero(t, p.Reserve("fourth", 1), "there is none")
	p.Release("third", 1)
	require.Zero(t, p.Room("acme"))
	require.True(t, p.Worth("fourth"))
	require.False(t, p.Worth("acme"))
	p.Release("acme", 2)
	require.Equal(t, 1, p.Room("acme"))
	require.False(t, p.Worth("acme"), "one slot is not worth a look for an instance with many")
	p.Release("acme", 8)
	require.True(t, p.Worth("acme"))
	p.Release("acme", 4)
	p.Release("other", 1)
	p.Close()
	require.Zero(t, p.Reserve("acme", 1))
}

func TestSlotsAreSharedByInstances(t *testing.T) {
	p := pool.New(256, clock.System(), time.Second)
	p.Open(t.Context())
	has := map[string]int{"a": p.Reserve("a", 1000)}
	require.Equal(t, 224, has["a"])
	for _, others := range [][]string{{"b"}, {"c", "d"}} {
		for _, instance := range others {
			require.Equal(t, 1, p.Reserve(instance, 1), "whoever comes finds a slot")
			has[instance] = 1
		}
		// Each time something ends everybody wants what there is.
		for range 2000 {
			for instance := range has {
				p.Release(instance, 1)
				has[instance]--
				for wanting := range has {
					has[wanting] += p.Reserve(wanting, 1)
				}
			}
		}
		for instance, n := range has {
			require.InDelta(t, 256/len(has), n, 40, instance)
		}
	}
}

func TestAPoolOfOneIsForAnybody(t *testing.T) {
	p := pool.New(1, clock.System(), time.Second)
	p.Open(t.Context())
	require.Equal(t, 1, p.Reserve("acme", 5))
	require.Zero(t, p.Reserve("acme", 1))
	p.Release("acme", 1)
	require.Equal(t, 1, p.Reserve("other", 1))
	p.Release("other", 1)
	p.Close()
}

func TestCloseWaitsForWorkAndThenInterruptsIt(t *testing.T) {
	manual := clock.NewManual(time.Unix(0, 0))
	p := pool.New(3, manual, time.Minute)
	soft, stop := context.WithCancel(t.Context())
	p.Open(soft)
	require.Equal(t, 2, p.Reserve("acme", 2))
	stop()
	require.NoError(t, p.Context().Err(), "the soft stop does not interrupt")
	closed := make(chan struct{})
	go func() { p.Close(); close(closed) }()
	manual.AwaitTimers(1)
	p.Release("acme", 1)
	manual.Advance(time.Minute - 1)
	require.NoError(t, p.Context().Err())
	manual.Advance(1)
	<-p.Context().Done()
	p.Release("acme", 1)
	<-closed
}

func TestAPoolOpensAgain(t *testing.T) {
	p := pool.New(1, clock.System(), time.Second)
	for range 2 {
		p.Open(t.Context())
		require.Equal(t, 1, p.Reserve("acme", 1))
		p.Release("acme", 1)
		p.Close()
	}
}

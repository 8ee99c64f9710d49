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
	p := pool.New(3, clock.System(), time.Second)
	require.Zero(t, p.Reserve(1), "it is not open")
	require.Zero(t, p.Free())
	p.Open(t.Context())
	require.Equal(t, 2, p.Reserve(2))
	require.Equal(t, 1, p.Reserve(2))
	require.Zero(t, p.Reserve(1))
	require.Equal(t, 3, p.Release(3))
	p.Close()
	require.Zero(t, p.Reserve(1))
}

func TestCloseWaitsForWorkAndThenInterruptsIt(t *testing.T) {
	manual := clock.NewManual(time.Unix(0, 0))
	p := pool.New(2, manual, time.Minute)
	soft, stop := context.WithCancel(t.Context())
	p.Open(soft)
	require.Equal(t, 2, p.Reserve(2))
	stop()
	require.NoError(t, p.Context().Err(), "the soft stop does not interrupt")
	closed := make(chan struct{})
	go func() { p.Close(); close(closed) }()
	manual.AwaitTimers(1)
	p.Release(1)
	manual.Advance(time.Minute - 1)
	require.NoError(t, p.Context().Err())
	manual.Advance(1)
	<-p.Context().Done()
	p.Release(1)
	<-closed
}

func TestAPoolOpensAgain(t *testing.T) {
	p := pool.New(1, clock.System(), time.Second)
	for range 2 {
		p.Open(t.Context())
		require.Equal(t, 1, p.Reserve(1))
		p.Release(1)
		p.Close()
	}
}

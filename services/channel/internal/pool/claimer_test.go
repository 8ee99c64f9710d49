package pool_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/pool"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

// looks is what a claimer finds at its looks, one after the other.
type looks struct {
	began   chan struct{}
	results chan error // nil: nothing more; errMore: something more
}

var errMore = errors.New("more")

func (l *looks) once(context.Context) (bool, error) {
	l.began <- struct{}{}
	err := <-l.results
	if errors.Is(err, errMore) {
		return true, nil
	}
	return false, err
}

func TestAClaimerLooksAtOnceWhileThereIsMoreElseWhenWokenAndNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &looks{began: make(chan struct{}), results: make(chan error)}
		kept := make(chan struct{})
		c := pool.Claimer{
			What: "things", Pool: pool.New(2, clock.System(), time.Minute), Recover: func(context.Context) error { return nil },
			Keep:    func(ctx context.Context) { <-ctx.Done(); close(kept) },
			RunOnce: l.once, Wake: pool.NewSignal(), Poll: time.Hour, Clock: clock.System(), Logger: slog.New(slog.DiscardHandler),
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		<-l.began
		require.Equal(t, 1, c.Pool.Reserve("acme", 1), "the pool is open")
		c.Pool.Release("acme", 1)
		start := time.Now()
		l.results <- errMore
		<-l.began
		l.results <- nil
		c.Wake.Notify()
		<-l.began
		require.Zero(t, time.Since(start))
		l.results <- errors.New("the store is away")
		<-l.began
		require.Equal(t, time.Hour, time.Since(start), "a look that fails is repeated by the poll")
		stop()
		l.results <- nil
		require.NoError(t, <-ended)
		<-kept
		require.Zero(t, c.Pool.Reserve("acme", 1), "the pool is closed")
	})
}

func TestAClaimerThatCannotRecoverClaimsNothing(t *testing.T) {
	broken := errors.New("broken")
	c := pool.Claimer{Pool: pool.New(1, clock.System(), time.Second), Recover: func(context.Context) error { return broken }}
	require.ErrorIs(t, c.Run(t.Context()), broken)
}

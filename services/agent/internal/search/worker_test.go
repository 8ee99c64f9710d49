package search

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// stub answers each call with the next of its steps, and says when it was called.
type stub struct {
	clock *clock.Manual
	steps []step
	calls chan time.Time
}

type step struct {
	n    int
	err  error
	took time.Duration
}

func (s *stub) IndexTurns(_ context.Context, limit int, w store.Words) (int, error) {
	if limit != batchSize || w.Head("a", "B") != "a\x1eb" || w.Turn(nil, nil) != "" {
		return 0, errors.New("called otherwise than it must be")
	}
	s.calls <- s.clock.Now()
	next := s.steps[0]
	s.steps = s.steps[1:]
	s.clock.Advance(next.took)
	return next.n, next.err
}

// The pause grows with what a batch took; an empty round and a failure have their own.
func TestPauses(t *testing.T) {
	manual := clock.NewManual(start)
	failure := errors.New("store is away")
	s := &stub{clock: manual, calls: make(chan time.Time), steps: []step{
		{n: 100, took: 10 * time.Millisecond}, {n: 3, took: time.Second}, {}, {err: failure}, {err: failure}, {n: 1, took: time.Millisecond}, {err: failure}, {},
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewWorker(s, manual, slog.New(slog.DiscardHandler)).Run(ctx) }()
	want := start
	for _, pause := range []time.Duration{
		100 * time.Millisecond, time.Second + maxPause, pollInterval, minBackoff, 2 * minBackoff, 10 * time.Millisecond, minBackoff,
	} {
		require.Equal(t, want, <-s.calls)
		manual.AwaitTimers(1)
		want = want.Add(pause)
		manual.Set(want)
	}
	require.Equal(t, want, <-s.calls)
	cancel()
	require.NoError(t, <-done)
}

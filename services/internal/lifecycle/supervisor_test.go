package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// work is a worker made of a function.
type work struct {
	name string
	run  func(ctx context.Context) error
}

func (w work) Name() string                  { return w.name }
func (w work) Run(ctx context.Context) error { return w.run(ctx) }

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSupervisor() (*lifecycle.Supervisor, *clock.Manual, *lines) {
	log, manual := &lines{}, clock.NewManual(start)
	return lifecycle.NewSupervisor(slog.New(slog.NewJSONHandler(log, nil)), manual), manual, log
}

func TestStopEndsWorkersSoftly(t *testing.T) {
	s, _, log := newSupervisor()
	started, finished := make(chan struct{}), false
	require.NoError(t, s.Go(work{"steady", func(ctx context.Context) error {
		close(started)
		<-ctx.Done()
		finished = true // the worker gets to end what it holds
		return nil
	}}))
	<-started
	require.Equal(t, []string{"steady"}, s.Running())
	require.NoError(t, s.Stop(t.Context()))
	require.True(t, finished)
	require.Empty(t, s.Running())
	require.NoError(t, s.Stop(t.Context()), "twice")
	require.ErrorIs(t, s.Go(work{"late", nil}), lifecycle.ErrStopped)
	require.Empty(t, log.String())
}

func TestWorkersThatFailAreRestartedWithBackoff(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error":    func() error { return errors.New("store is unavailable") },
		"panic":    func() error { panic(errors.New("index out of range")) },
		"too soon": func() error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s, manual, log := newSupervisor()
			runs := make(chan time.Time, 1)
			require.NoError(t, s.Go(work{"shaky", func(context.Context) error {
				runs <- manual.Now()
				return fail()
			}}))
			last := <-runs
			for _, wait := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond} {
				manual.AwaitTimers(1)
				manual.Advance(wait - 1)
				require.Empty(t, runs)
				manual.Advance(1)
				now := <-runs
				require.Equal(t, wait, now.Sub(last))
				last = now
			}
			for range 10 { // the wait is bounded
				manual.AwaitTimers(1)
				manual.Advance(30 * time.Second)
				<-runs
			}
			manual.AwaitTimers(1)
			require.NoError(t, s.Stop(t.Context()), "also while a worker waits for its restart")
			require.Contains(t, log.String(), `"worker":"shaky"`)
			require.Contains(t, log.String(), `"restart_in"`)
			require.Equal(t, name == "panic", strings.Contains(log.String(), `"stack"`))
		})
	}
}

func TestBackoffBeginsAnewAfterAHealthyRun(t *testing.T) {
	s, manual, _ := newSupervisor()
	runs, fail := make(chan time.Time, 1), make(chan struct{})
	require.NoError(t, s.Go(work{"shaky", func(ctx context.Context) error {
		runs <- manual.Now()
		select {
		case <-fail:
			return errors.New("x")
		case <-ctx.Done():
			return nil
		}
	}}))
	for range 5 {
		<-runs
		fail <- struct{}{}
		manual.AwaitTimers(1)
		manual.Advance(30 * time.Second)
	}
	<-runs
	manual.Advance(time.Minute)
	fail <- struct{}{}
	manual.AwaitTimers(1)
	manual.Advance(100 * time.Millisecond)
	<-runs
	require.NoError(t, s.Stop(t.Context()))
}

func TestStopNamesWhatDoesNotEnd(t *testing.T) {
	s, _, _ := newSupervisor()
	release, started := make(chan struct{}), make(chan struct{})
	require.NoError(t, s.Go(work{"stubborn", func(context.Context) error {
		close(started)
		<-release
		return nil
	}}))
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Stop(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "stubborn")
	close(release)
	require.NoError(t, s.Stop(t.Context()))
}

func TestErrorWhileStoppingIsLoggedAndNotRepeated(t *testing.T) {
	s, _, log := newSupervisor()
	var runs atomic.Int32
	started := make(chan struct{})
	require.NoError(t, s.Go(work{"shaky", func(ctx context.Context) error {
		runs.Add(1)
		close(started)
		<-ctx.Done()
		return errors.New("cannot put back")
	}}))
	require.NoError(t, s.Go(work{"canceled", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}))
	<-started
	require.NoError(t, s.Stop(t.Context()))
	require.EqualValues(t, 1, runs.Load())
	require.Contains(t, log.String(), "cannot put back")
	require.NotContains(t, log.String(), `"worker":"canceled"`)
}

func TestPanicsDoNotLogValues(t *testing.T) {
	s, manual, log := newSupervisor()
	require.NoError(t, s.Go(work{"shaky", func(context.Context) error { panic("Maria's message") }}))
	manual.AwaitTimers(1)
	require.NoError(t, s.Stop(t.Context()))
	require.NotContains(t, log.String(), "Maria")
	require.Contains(t, log.String(), "panic with a string")
}

func TestClosersCloseInReverseUnderOneDeadline(t *testing.T) {
	var (
		c      lifecycle.Closers
		closed []string
	)
	closing := func(name string, err error) func(context.Context) error {
		return func(ctx context.Context) error {
			_, ok := ctx.Deadline()
			require.True(t, ok)
			closed = append(closed, name)
			return err
		}
	}
	broken := errors.New("disk full")
	require.True(t, c.Push("store", closing("store", nil)))
	require.True(t, c.Push("worker", closing("worker", broken)))
	require.True(t, c.Push("panics", func(context.Context) error { panic(broken) }))
	require.True(t, c.Push("server", closing("server", nil)))

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := c.Close(ctx)
	require.Equal(t, []string{"server", "worker", "store"}, closed, "one that fails does not keep the others open")
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "close worker: disk full")
	require.ErrorContains(t, err, "close panics: panic")
	require.Equal(t, err, c.Close(ctx), "twice")
	require.Len(t, closed, 3)
	require.False(t, c.Push("late", closing("late", nil)))
}

func TestClosersCalledTwiceAtOnce(t *testing.T) {
	var c lifecycle.Closers
	release, entered := make(chan struct{}), make(chan struct{})
	c.Push("slow", func(context.Context) error {
		close(entered)
		<-release
		return nil
	})
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- c.Close(context.Background()) }()
	<-entered
	go func() { second <- c.Close(context.Background()) }()
	require.Empty(t, second, "the second call waits for the first")
	close(release)
	require.NoError(t, <-first)
	require.NoError(t, <-second)
}

func TestClosersEmpty(t *testing.T) {
	var c lifecycle.Closers
	require.NoError(t, c.Close(t.Context()))
}

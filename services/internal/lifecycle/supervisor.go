// Package lifecycle starts and stops what runs for as long as the process does: workers that are restarted when they fail, and
// things that are closed in the reverse order of their opening.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// minBackoff is the wait before the first restart of a worker that failed.
	minBackoff = 100 * time.Millisecond
	// maxBackoff bounds the doubling of the wait.
	maxBackoff = 30 * time.Second
	// healthyAfter is how long a worker must have run for its next failure to count as the first.
	healthyAfter = time.Minute
)

// Worker is something that runs in the background.
type Worker interface {
	// Name is the worker's name in logs and metrics: "channel-deliveries".
	Name() string
	// Run works until the context ends, and then returns nil after finishing, or putting back, what is in its hands: the end of
	// the context is the soft stop. An error, a panic, or nil before the end of the context makes the supervisor run it again
	// after a while.
	Run(ctx context.Context) error
}

// ErrStopped is what Go returns once Stop was called.
var ErrStopped = errors.New("supervisor is stopped")

// Supervisor runs workers, each on a goroutine of its own, and restarts those that fail. A panic in a worker does not end the
// process. It does not save a panic in a goroutine that the worker itself starts.
type Supervisor struct {
	logger *slog.Logger
	clock  clock.Clock
	ctx    context.Context // ends at the soft stop
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup
	names   map[string]int // running workers by name
}

// NewSupervisor returns a supervisor without workers.
func NewSupervisor(logger *slog.Logger, c clock.Clock) *Supervisor {
	// Workers live as long as the process, not as long as any call: their context begins here and ends in Stop.
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // see above
	return &Supervisor{logger: logger, clock: c, ctx: ctx, cancel: cancel, names: make(map[string]int)}
}

// Go starts a worker. Errors: ErrStopped.
func (s *Supervisor) Go(w Worker) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return ErrStopped
	}
	s.names[w.Name()]++
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer s.forget(w.Name())
		s.supervise(w)
	}()
	return nil
}

// Stop asks every worker to end (their contexts end) and waits until all have, or until ctx ends: then the error names those that
// still run. It may be called more than once; later calls wait as the first does.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()

	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done: // both happened
		return nil
	default:
		return fmt.Errorf("stop workers: %w, still running: %v", context.Cause(ctx), s.Running())
	}
}

// Running are the names of the workers that have not ended, sorted.
func (s *Supervisor) Running() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sortedKeys(s.names)
}

func (s *Supervisor) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name]--; s.names[name] <= 0 {
		delete(s.names, name)
	}
}

// supervise runs the worker until the soft stop, with ever longer pauses while it keeps failing.
func (s *Supervisor) supervise(w Worker) {
	backoff := minBackoff
	for {
		began := s.clock.Now()
		err := runGuarded(s.ctx, w)
		if s.ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				s.logFailure(w, err, "worker failed while stopping", 0)
			}
			return
		}
		if s.clock.Now().Sub(began) >= healthyAfter {
			backoff = minBackoff
		}
		s.logFailure(w, err, "worker failed and will be restarted", backoff)
		if !clock.Wait(s.ctx, s.clock, backoff, nil) {
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (s *Supervisor) logFailure(w Worker, err error, message string, restartIn time.Duration) {
	attrs := []slog.Attr{slog.String("worker", w.Name())}
	if restartIn > 0 {
		attrs = append(attrs, slog.Duration("restart_in", restartIn))
	}
	var panicked *panicError
	switch {
	case errors.As(err, &panicked):
		attrs = append(attrs, slog.String("error", panicked.Error()), slog.String("stack", string(panicked.stack)))
	case err != nil:
		attrs = append(attrs, slog.String("error", err.Error()))
	default:
		attrs = append(attrs, slog.String("error", "worker returned before it was asked to"))
	}
	s.logger.LogAttrs(s.ctx, slog.LevelError, message, attrs...)
}

// panicError is a panic of a worker.
type panicError struct {
	value any
	stack []byte
}

// Error names the value if it is an error of the runtime or of the program, else its kind only: it may be a person's data.
func (p *panicError) Error() string {
	if err, ok := p.value.(error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic with a %T", p.value)
}

func runGuarded(ctx context.Context, w Worker) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value: value, stack: debug.Stack()}
		}
	}()
	return w.Run(ctx)
}

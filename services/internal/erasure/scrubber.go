package erasure

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// scrubPatience is how long whoever erases waits for the files: those of a large store take longer, and are scrubbed after the
	// answer.
	scrubPatience = 5 * time.Second
	// scrubRetry is the wait after a failure.
	scrubRetry = 10 * time.Second
)

// Scrubber takes out of a store's files what erasures deleted from its tables. It is a lifecycle.Worker. What one process did not
// come to, the next one does when it starts.
type Scrubber struct {
	service string
	db      *sqldb.DB
	clock   clock.Clock
	logger  *slog.Logger
	wake    chan struct{}

	mu      sync.Mutex
	running bool
	ended   chan struct{} // closed at the end of the first scrub that begins from now on
}

// NewScrubber returns a scrubber for the store of a service.
func NewScrubber(service string, db *sqldb.DB, c clock.Clock, logger *slog.Logger) *Scrubber {
	return &Scrubber{service: service, db: db, clock: c, logger: logger, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// Name is the worker's name.
func (s *Scrubber) Name() string { return s.service + "-scrubber" }

// Scrub has the files scrubbed after an erasure ended, and waits for it, but not long. While the worker does not run it does the work
// itself.
func (s *Scrubber) Scrub(ctx context.Context) {
	s.mu.Lock()
	ended, running := s.ended, s.running
	s.mu.Unlock()
	if !running {
		if _, err := s.runOnce(ctx); err != nil {
			s.logger.LogAttrs(ctx, slog.LevelWarn, "files could not be scrubbed after an erasure", slog.String("store", s.service),
				slog.String("error", err.Error()))
		}
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	clock.Wait(ctx, s.clock, scrubPatience, ended)
}

// Run scrubs when it is asked to, and at its beginning what is left from before.
func (s *Scrubber) Run(ctx context.Context) error {
	s.run(true)
	defer s.run(false)
	for {
		retry, err := s.runOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.logger.LogAttrs(ctx, slog.LevelWarn, "files could not be scrubbed after an erasure", slog.String("store", s.service),
				slog.String("error", err.Error()), slog.Duration("retry_in", scrubRetry))
		}
		if !s.wait(ctx, retry) {
			return nil
		}
	}
}

// wait waits until the worker is woken, or for the next try; false when the context ended.
func (s *Scrubber) wait(ctx context.Context, retry bool) bool {
	var again <-chan time.Time
	if retry {
		timer := s.clock.NewTimer(scrubRetry)
		defer timer.Stop()
		again = timer.C()
	}
	select {
	case <-s.wake:
	case <-again:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (s *Scrubber) run(running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = running
}

// runOnce scrubs if something was erased since the last time. retry says that something is left to do.
func (s *Scrubber) runOnce(ctx context.Context) (retry bool, err error) {
	s.mu.Lock()
	ended := s.ended
	s.ended = make(chan struct{})
	s.mu.Unlock()
	defer close(ended)
	last, ok, err := unscrubbed(ctx, s.db)
	if err != nil {
		return true, err
	}
	if !ok {
		return false, nil
	}
	if err := s.db.Scrub(ctx); err != nil {
		return true, err
	}
	return false, scrubbed(ctx, s.db, last, s.clock.Now())
}

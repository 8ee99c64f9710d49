package idempotency

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// SweepInterval is how long a record may outlive its 24 hours.
const SweepInterval = 10 * time.Minute

// Sweeper deletes the records of one store that have expired. It is a lifecycle.Worker.
type Sweeper struct {
	service string
	db      *sqldb.DB
	clock   clock.Clock
}

// NewSweeper returns a sweeper for the store of a service.
func NewSweeper(service string, db *sqldb.DB, c clock.Clock) *Sweeper {
	return &Sweeper{service: service, db: db, clock: c}
}

// Name is the worker's name.
func (s *Sweeper) Name() string { return s.service + "-sweep" }

// Run sweeps at once and then at every interval. An error ends it; who runs it runs it again.
func (s *Sweeper) Run(ctx context.Context) error {
	timer := s.clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C():
			if _, err := Sweep(ctx, s.db, s.clock); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			timer.Reset(SweepInterval)
		case <-ctx.Done():
			return nil
		}
	}
}

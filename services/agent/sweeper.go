package agent

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// sweepInterval is how long an idempotency record may outlive its 24 hours.
const sweepInterval = time.Hour

// sweeper deletes idempotency records that have expired.
type sweeper struct {
	db    *sqldb.DB
	clock clock.Clock
}

// Name is the worker's name.
func (s *sweeper) Name() string { return "agent-sweep" }

// Run sweeps at once and then every hour. An error ends it; who runs it runs it again.
func (s *sweeper) Run(ctx context.Context) error {
	timer := s.clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C():
			if _, err := idempotency.Sweep(ctx, s.db, s.clock); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			timer.Reset(sweepInterval)
		case <-ctx.Done():
			return nil
		}
	}
}

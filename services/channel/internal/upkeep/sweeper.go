package upkeep

import (
	"context"
	"log/slog"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// sweepEvery is how often expired keys are deleted.
const sweepEvery = 10 * time.Minute

// Sweeper deletes expired idempotency keys. It is a lifecycle.Worker.
type Sweeper struct {
	db     *sqldb.DB
	clock  clock.Clock
	logger *slog.Logger
}

// NewSweeper returns a sweeper.
func NewSweeper(db *sqldb.DB, c clock.Clock, logger *slog.Logger) *Sweeper {
	return &Sweeper{db: db, clock: c, logger: logger}
}

// Name implements lifecycle.Worker.
func (s *Sweeper) Name() string { return "channel-sweeper" }

// Run implements lifecycle.Worker.
func (s *Sweeper) Run(ctx context.Context) error {
	timer := s.clock.NewTimer(sweepEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C():
		}
		if _, err := idempotency.Sweep(ctx, s.db, s.clock); err != nil && ctx.Err() == nil {
			s.logger.LogAttrs(ctx, slog.LevelWarn, "sweep idempotency keys", slog.String("error", err.Error()))
		}
		timer.Reset(sweepEvery)
	}
}

package idempotency

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

// SweepInterval is how long a record may outlive its 24 hours.
const SweepInterval = 10 * time.Minute

// Sweeper deletes the records of one store that have expired, in one process at a time. It is a lifecycle.Worker, and needs the table of
// package worklease.
type Sweeper struct {
	service string
	db      *sqldb.DB
	clock   clock.Clock
	shift   worklease.Shift
}

// NewSweeper returns a sweeper for the store of a service. The holder names this process among those that share the store.
func NewSweeper(service string, db *sqldb.DB, c clock.Clock, holder string) *Sweeper {
	return &Sweeper{service: service, db: db, clock: c, shift: worklease.Shift{
		DB: db, Name: "idempotency", Holder: holder, Length: 2 * SweepInterval,
	}}
}

// Name is the worker's name.
func (s *Sweeper) Name() string { return s.service + "-sweep" }

// Run sweeps at once and then at every interval. An error ends it; who runs it runs it again.
func (s *Sweeper) Run(ctx context.Context) error {
	for {
		if err := s.runOnce(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if !clock.Wait(ctx, s.clock, SweepInterval, nil) {
			return nil
		}
	}
}

// runOnce sweeps, unless that is another process's work. It asks the store each time: who ended should be followed soon.
func (s *Sweeper) runOnce(ctx context.Context) error {
	s.shift.Forget()
	held, err := s.shift.Hold(ctx, s.clock.Now())
	if err != nil || !held {
		return err
	}
	_, err = Sweep(ctx, s.db, s.clock)
	return err
}

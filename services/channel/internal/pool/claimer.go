package pool

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// Claimer looks for work and begins it: at once while there may be more, else
// when it is woken, and every Poll. All fields are required.
type Claimer struct {
	// What is claimed, for the log.
	What string
	// Pool is open while Run runs.
	Pool *Pool
	// Recover runs before anything is claimed; its error ends Run.
	Recover func(ctx context.Context) error
	// Keep keeps the leases of what goes on, until its context ends.
	Keep func(ctx context.Context)
	// RunOnce begins work that is due, and reports whether more may be due for
	// which there is a slot.
	RunOnce func(ctx context.Context) (more bool, err error)
	// Wake makes it look now.
	Wake Signal
	// Poll is how often it looks when nobody wakes it.
	Poll   time.Duration
	Clock  clock.Clock
	Logger *slog.Logger
}

// Run claims until ctx ends, and then ends the pool's work.
func (c *Claimer) Run(ctx context.Context) error {
	if err := c.Recover(ctx); err != nil {
		return err
	}
	c.Pool.Open(ctx)
	var keeping sync.WaitGroup
	keep, stopKeeping := context.WithCancel(c.Pool.Context())
	keeping.Go(func() { c.Keep(keep) })
	defer func() {
		c.Pool.Close()
		stopKeeping()
		keeping.Wait()
	}()

	for {
		more, err := c.RunOnce(ctx)
		if err != nil && ctx.Err() == nil {
			// Not the worker's fault: the next poll tries again.
			c.Logger.LogAttrs(ctx, slog.LevelWarn, "claim "+c.What, slog.String("error", err.Error()))
		}
		if more && err == nil && ctx.Err() == nil {
			continue
		}
		if !clock.Wait(ctx, c.Clock, c.Poll, c.Wake) {
			return nil
		}
	}
}

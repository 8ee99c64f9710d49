// Package persist writes the results of work that was done: one that is not
// stored means that the work is done again, so the store is asked more than once.
package persist

import (
	"context"
	"errors"
	"time"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// timeout bounds one write, which goes on although the work was interrupted.
	timeout = 5 * time.Second
	// waits is how often a result that the store would not take is offered
	// again, after 100 ms, 200 ms, 400 ms …
	waits    = 6
	firstGap = 100 * time.Millisecond
)

// Result writes until the store takes it, says that the lease was lost, or was
// asked often enough; the end of ctx ends the asking, but not the first write.
// It returns the last error.
func Result(ctx context.Context, c clock.Clock, write func(ctx context.Context) error) error {
	gap := firstGap
	for try := 0; ; try++ {
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		err := write(once)
		cancel()
		if err == nil || errors.Is(err, store.ErrLeaseLost) || try == waits {
			return err
		}
		if !clock.Wait(ctx, c, gap, nil) {
			return err
		}
		gap *= 2
	}
}

package deliveries

import (
	"context"
	"encoding/json"
	"time"

	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/persist"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// next is how long to wait after an attempt that failed, the last of d; again is
// false if the delivery is given up.
func (w *Worker) next(endpoint *directory.Endpoint, d *store.Delivery, outcome webhook.Outcome) (wait time.Duration, again bool) {
	schedule, number := w.config.Schedule, d.AttemptCount
	if endpoint.FailurePolicy == store.Hold {
		number = min(number, schedule.Attempts()-1) // the last wait, again and again
	}
	wait, again = schedule.Next(number, outcome.RetryAfter, w.Rand)
	if !again || endpoint.SkipAfter == 0 || endpoint.FailurePolicy == store.Hold {
		return wait, again
	}
	// The attempt at the end of the time is the last, whatever the schedule says.
	left := firstAttempt(d).Add(endpoint.SkipAfter).Sub(w.Clock.Now())
	return min(wait, left), left > 0
}

// firstAttempt is when the first attempt began of those that count.
func firstAttempt(d *store.Delivery) time.Time {
	var list []struct{ Time time.Time }
	if json.Unmarshal(d.Attempts, &list) != nil || len(list) == 0 {
		return d.CreateTime // a list that this program did not write
	}
	return list[max(0, len(list)-d.AttemptCount)].Time
}

// park ends a delivery whose lane then waits for somebody.
func (w *Worker) park(ctx context.Context, d *store.Delivery, epoch int64) {
	d.State = store.Dead
	err := persist.Result(ctx, w.Clock, func(ctx context.Context) error {
		return w.Store.ParkLane(ctx, d, epoch, w.Clock.Now())
	})
	w.unstored(ctx, d, err)
	if err == nil {
		w.Settled(ctx, d)
	}
}

package deliveries

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/persist"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// storeTimeout bounds what must be written although the work was interrupted.
	storeTimeout = 5 * time.Second
	// goneReason is why a channel is disabled whose webhook answered 410.
	goneReason = "the webhook answered 410 Gone"
)

// work delivers from a lane that this worker holds.
func (w *Worker) work(l store.Lane) {
	defer w.release(l.EndpointID)
	w.metrics.inFlight.Inc()
	defer w.metrics.inFlight.Dec()
	ctx, cancel := context.WithCancel(w.pool.Context())
	defer cancel()
	w.keeper.Hold(l.LaneKey, l.Epoch, cancel)
	defer w.keeper.Drop(l.LaneKey, l.Epoch)

	held, more := w.drain(ctx, l)
	if !held {
		return
	}
	ctx, cancelRelease := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancelRelease()
	err := w.Store.ReleaseLane(ctx, l.LaneKey, l.Epoch, w.Clock.Now())
	if err != nil && !errors.Is(err, store.ErrLeaseLost) {
		// The end of the lease does the same, later.
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "put lane back", slog.String("channel", l.EndpointID), slog.String("error", err.Error()))
	}
	if more {
		w.Queued(l.EndpointID) // else the rest of the lane would wait for the next poll
	}
}

// drain makes deliveries of the lane until one has to wait, none is left, or it
// is the turn of others. It reports whether the lease is still held and must be
// given back, and whether the lane then goes on at once.
func (w *Worker) drain(ctx context.Context, l store.Lane) (held, more bool) {
	defer func() {
		if value := recover(); value != nil {
			w.Logger.LogAttrs(ctx, slog.LevelError, "delivery panicked", slog.String("channel", l.EndpointID),
				slog.String("kind", fmt.Sprintf("%T", value)), slog.String("stack", string(debug.Stack())))
			// The lease stays until it ends by itself, so that a lane which always
			// panics is tried now and then only.
			held, more = false, false
		}
	}()
	settled, pending := l.SettledSeq, l.Pending
	for range handBatch {
		if len(pending) == 0 {
			var err error
			if pending, err = w.Store.Deliveries(ctx, l.LaneKey, settled, store.ReadAhead); err != nil || len(pending) == 0 {
				// Rather than trying at once, again and again, let the lease end.
				return ctx.Err() != nil, false
			}
		}
		channel, err := w.Directory.Get(ctx, l.EndpointID)
		if err != nil {
			if !errors.Is(err, store.ErrChannelNotFound) && ctx.Err() == nil {
				w.Logger.LogAttrs(ctx, slog.LevelError, "read channel to deliver to", slog.String("channel", l.EndpointID),
					slog.String("error", err.Error()))
				return false, false // the end of the lease is the wait
			}
			return true, false
		}
		if channel.State != store.Active {
			return true, false
		}
		settledOne, held := w.deliver(ctx, channel, &pending[0], l.Epoch)
		if !settledOne {
			return held, false
		}
		settled, pending = pending[0].Sequence, pending[1:]
	}
	return true, ctx.Err() == nil
}

// deliver makes one attempt and stores what came of it. more says that the
// lane goes on with its next delivery; otherwise held says whether the lease is
// still to be given back.
func (w *Worker) deliver(ctx context.Context, channel *directory.Channel, d *store.Delivery, epoch int64) (more, held bool) {
	began := w.Clock.Now()
	outcome := webhook.Attempt(ctx, w.Client, webhook.Request{
		URL:             channel.WebhookURL,
		ID:              d.ID,
		Body:            d.Body,
		Secrets:         []webhook.Secret{channel.Secret},
		Sequence:        uint64(d.Sequence),
		UserAgent:       w.config.UserAgent,
		Timeout:         channel.Timeout,
		Acknowledgement: acknowledgement(channel.Acknowledgement),
		Clock:           w.Clock,
	})
	w.metrics.attempted(outcome)
	if outcome.Err == webhook.Canceled {
		// Interrupted, by the end of the process or the loss of the lease: it
		// says nothing about the receiver.
		return false, true
	}
	w.endpoints.learn(channel.ID, outcome.Acknowledged, outcome.SlowDown)
	attempts, err := appendAttempt(d.Attempts, began, outcome)
	if err != nil {
		return false, true
	}
	d.Attempts = attempts
	d.AttemptCount++

	if outcome.Acknowledged {
		return w.settle(ctx, d, epoch, store.Delivered)
	}
	w.Logger.LogAttrs(ctx, slog.LevelDebug, "delivery attempt failed", slog.String("delivery", d.ID), slog.String("channel", channel.ID),
		slog.Int("attempt", d.AttemptCount), slog.String("class", string(outcome.Err)), slog.Int("status", outcome.StatusCode))
	wait, again := w.config.Schedule.Next(d.AttemptCount, outcome.RetryAfter, w.Rand)
	switch {
	case outcome.Gone:
		w.disable(ctx, channel)
		wait = 0 // when the channel is active again, nothing is left to wait for
	case !again:
		return w.settle(ctx, d, epoch, store.Dead)
	}
	err = persist.Result(ctx, w.Clock, func(ctx context.Context) error {
		return w.Store.Retry(ctx, d, epoch, w.Clock.Now().Add(wait))
	})
	w.unstored(ctx, d, err)
	return false, false
}

func (w *Worker) settle(ctx context.Context, d *store.Delivery, epoch int64, state store.DeliveryState) (more, held bool) {
	d.State = state
	err := persist.Result(ctx, w.Clock, func(ctx context.Context) (err error) {
		more, err = w.Store.Settle(ctx, d, epoch, w.Clock.Now())
		return err
	})
	if err != nil {
		w.unstored(ctx, d, err)
		return false, false
	}
	if state == store.Dead {
		w.metrics.dead.Inc()
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "delivery is dead", slog.String("delivery", d.ID), slog.String("channel", d.EndpointID),
			slog.Int("attempts", d.AttemptCount))
	} else {
		w.metrics.delivered.Inc()
	}
	return more && ctx.Err() == nil, more
}

// unstored notes that a result is lost; the attempt will be made again.
func (w *Worker) unstored(ctx context.Context, d *store.Delivery, err error) {
	if err == nil {
		return
	}
	w.Logger.LogAttrs(ctx, slog.LevelWarn, "result of a delivery attempt was not stored", slog.String("delivery", d.ID),
		slog.String("channel", d.EndpointID), slog.String("error", err.Error()))
}

// disable stops deliveries to a webhook that is gone. They are kept.
func (w *Worker) disable(ctx context.Context, channel *directory.Channel) {
	err := persist.Result(ctx, w.Clock, func(ctx context.Context) error {
		_, err := w.Store.SetState(ctx, channel.Instance, channel.ID, store.Active, store.Disabled, goneReason, w.Clock.Now())
		return err
	})
	w.Directory.Forget(channel.ID)
	if err != nil {
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "disable channel", slog.String("channel", channel.ID), slog.String("error", err.Error()))
		return
	}
	w.Logger.LogAttrs(ctx, slog.LevelWarn, "channel is disabled: its webhook answered 410", slog.String("channel", channel.ID))
}

func acknowledgement(a store.Acknowledgement) webhook.Acknowledgement {
	if a == store.Any2xx {
		return webhook.Any2xx
	}
	return webhook.StatusOK
}

package redeliveries

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
	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// storeTimeout bounds what must be written although the work was interrupted.
	storeTimeout = 5 * time.Second
	// handBatch is how many deliveries of one conversation are sent before
	// others get its place.
	handBatch = 8
	// restShare is about how far apart redeliveries of one process are while
	// something live is sent.
	restShare = 5 * time.Millisecond
)

// work sends from a conversation that this worker holds.
func (w *Worker) work(r store.Redelivery) {
	at := place{worker: w, endpoint: store.Endpoint{Instance: r.Instance, ID: r.EndpointID}, held: true}
	defer func() {
		at.leave()
		if w.release(at.endpoint) {
			w.wake.Notify()
		}
	}()
	w.flights.Inc()
	defer w.flights.Dec()
	ctx, cancel := context.WithCancel(w.pool.Context())
	defer cancel()
	w.keeper.Hold(r.LaneKey, r.Epoch, cancel)
	defer w.keeper.Drop(r.LaneKey, r.Epoch)

	if !w.drain(ctx, &at, r) {
		return
	}
	ctx, cancelRelease := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancelRelease()
	err := w.Store.ReleaseRedelivery(ctx, r.LaneKey, r.Epoch, w.Clock.Now())
	if err != nil && !errors.Is(err, store.ErrLeaseLost) {
		// The end of the lease does the same, later.
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "put redelivery back", slog.String("channel", r.EndpointID), slog.String("error", err.Error()))
	}
}

// drain sends deliveries of the conversation until one has to wait, none is
// left, or it is the turn of others. It reports whether the lease is still held
// and must be given back.
func (w *Worker) drain(ctx context.Context, at *place, r store.Redelivery) (held bool) {
	defer func() {
		if value := recover(); value != nil {
			w.Logger.LogAttrs(ctx, slog.LevelError, "redelivery panicked", slog.String("channel", r.EndpointID),
				slog.String("kind", fmt.Sprintf("%T", value)), slog.String("stack", string(debug.Stack())))
			held = false // the end of the lease is the wait
		}
	}()
	for range handBatch {
		d, ok, err := w.Store.NextRedelivery(ctx, r.LaneKey)
		if err != nil || !ok {
			return ctx.Err() != nil // rather than trying at once, again and again, let the lease end
		}
		endpoint, err := w.Directory.Endpoint(ctx, r.EndpointID)
		if err != nil {
			if !errors.Is(err, directory.ErrNotFound) && ctx.Err() == nil {
				w.Logger.LogAttrs(ctx, slog.LevelError, "read endpoint to send to again", slog.String("channel", r.EndpointID),
					slog.String("error", err.Error()))
				return false
			}
			return true
		}
		if !endpoint.Delivers() || !at.take() {
			return true
		}
		more, held := w.send(ctx, at, endpoint, &d, r.Epoch)
		w.rest(ctx)
		if !more {
			return held
		}
	}
	return true
}

// rest lets live messages through, if there are any: what is sent again shares
// the store and the processors with them, so that without it the rare live
// message that meets much of it at once would wait for all of that.
func (w *Worker) rest(ctx context.Context) {
	if w.Exchange.Calm() {
		return
	}
	w.mu.Lock()
	working := w.working
	w.mu.Unlock()
	clock.Wait(ctx, w.Clock, time.Duration(working)*restShare, nil)
}

// send makes one attempt and stores what came of it. more says that the
// conversation goes on with its next delivery; otherwise held says whether the
// lease is still to be given back.
func (w *Worker) send(ctx context.Context, at *place, endpoint *directory.Endpoint, d *store.Delivery, epoch int64) (more, held bool) {
	outcome, made := w.Exchange.Attempt(ctx, endpoint, d)
	at.leave()
	if !made {
		return false, true
	}
	if outcome.Acknowledged {
		return w.settle(ctx, d, epoch, store.Delivered)
	}
	wait, again := w.config.Schedule.Next(d.AttemptCount, outcome.RetryAfter, w.Rand)
	switch {
	case outcome.Gone:
		wait = 0 // when the endpoint is active again, nothing is left to wait for
	case !again:
		return w.settle(ctx, d, epoch, store.Dead)
	}
	err := persist.Result(ctx, w.Clock, func(ctx context.Context) error {
		return w.Store.RetryRedelivery(ctx, d, epoch, w.Clock.Now().Add(wait))
	})
	w.unstored(ctx, d, err)
	return false, false
}

func (w *Worker) settle(ctx context.Context, d *store.Delivery, epoch int64, state store.DeliveryState) (more, held bool) {
	d.State = state
	err := persist.Result(ctx, w.Clock, func(ctx context.Context) (err error) {
		more, err = w.Store.SettleRedelivery(ctx, d, epoch, w.Clock.Now())
		return err
	})
	if err != nil {
		w.unstored(ctx, d, err)
		return false, false
	}
	w.Exchange.Settled(ctx, d)
	return more && ctx.Err() == nil, more
}

// unstored notes that a result is lost; the attempt will be made again.
func (w *Worker) unstored(ctx context.Context, d *store.Delivery, err error) {
	if err == nil {
		return
	}
	w.Logger.LogAttrs(ctx, slog.LevelWarn, "result of a redelivery attempt was not stored", slog.String("delivery", d.ID),
		slog.String("channel", d.EndpointID), slog.String("error", err.Error()))
}

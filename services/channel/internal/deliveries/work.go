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
	"github.com/prosa-chat/prosa/services/internal/stack"
)

// storeTimeout bounds what must be written although the work was interrupted.
const storeTimeout = 5 * time.Second

// work delivers from a lane that this worker holds. It has a place at its
// endpoint if it was claimed; else one was promised.
func (w *Worker) work(l store.Lane, claimed bool) {
	stack.Grow()
	w.lastWork.Store(w.Clock.Now().UnixMicro())
	defer w.release(l.Instance)
	place := &place{worker: w, endpoint: store.Endpoint{Instance: l.Instance, ID: l.EndpointID}, held: claimed, expected: !claimed}
	defer place.leave()
	w.metrics.inFlight.Inc()
	defer w.metrics.inFlight.Dec()
	ctx, cancel := context.WithCancel(w.pool.Context())
	defer cancel()
	w.keeper.Hold(l.LaneKey, l.Epoch, cancel)
	defer w.keeper.Drop(l.LaneKey, l.Epoch)

	held, more := w.drain(ctx, place, l)
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
		w.Queued(place.endpoint) // else the rest of the lane would wait for the next poll
	}
}

// drain makes deliveries of the lane until one has to wait, none is left, or it
// is the turn of others. It reports whether the lease is still held and must be
// given back, and whether the lane then goes on at once.
func (w *Worker) drain(ctx context.Context, place *place, l store.Lane) (held, more bool) {
	defer func() {
		if value := recover(); value != nil {
			w.Logger.LogAttrs(ctx, slog.LevelError, "delivery panicked", slog.String("channel", l.EndpointID),
				slog.String("kind", fmt.Sprintf("%T", value)), slog.String("stack", string(debug.Stack())))
			// The lease stays until it ends by itself, so that a lane which always
			// panics is tried now and then only.
			held, more = false, false
		}
	}()
	for range handBatch {
		if len(l.Pending) == 0 {
			var err error
			if l.Pending, err = w.Store.PendingDeliveries(ctx, l.LaneKey, l.SettledSeq, store.ReadAhead); err != nil || len(l.Pending) == 0 {
				// Rather than trying at once, again and again, let the lease end.
				return ctx.Err() != nil, false
			}
		}
		endpoint, err := w.Directory.Endpoint(ctx, l.EndpointID)
		if err != nil {
			if !errors.Is(err, directory.ErrNotFound) && ctx.Err() == nil {
				w.Logger.LogAttrs(ctx, slog.LevelError, "read endpoint to deliver to", slog.String("channel", l.EndpointID),
					slog.String("error", err.Error()))
				return false, false // the end of the lease is the wait
			}
			return true, false
		}
		if !endpoint.Delivers() {
			return true, false
		}
		if !place.take(ctx) {
			return true, ctx.Err() == nil
		}
		settled, held := w.deliver(ctx, place, endpoint, &l)
		if !settled {
			return held, false
		}
		l.SettledSeq, l.Pending = l.Pending[0].Sequence, l.Pending[1:]
	}
	return true, ctx.Err() == nil
}

// deliver makes one attempt for the head of a lane and stores what came of it.
// more says that the lane goes on with its next delivery; otherwise held says
// whether the lease is still to be given back.
func (w *Worker) deliver(ctx context.Context, place *place, endpoint *directory.Endpoint, l *store.Lane) (more, held bool) {
	d := &l.Pending[0]
	outcome, made := w.Attempt(ctx, endpoint, d)
	place.leave()
	if !made {
		return false, true
	}
	if outcome.Acknowledged {
		return w.settle(ctx, l, store.Delivered)
	}
	wait, again := w.next(endpoint, d, outcome)
	switch {
	case outcome.Gone:
		wait = 0 // when the channel is active again, nothing is left to wait for
	case !again && endpoint.FailurePolicy == store.Park:
		w.park(ctx, d, l.Epoch)
		return false, false
	case !again:
		return w.settle(ctx, l, store.Dead)
	}
	err := persist.Result(ctx, w.Clock, func(ctx context.Context) error {
		return w.Store.Retry(ctx, d, l.Epoch, w.Clock.Now().Add(wait))
	})
	w.unstored(ctx, d, err)
	return false, false
}

// settle ends the head of a lane, and says what deliver does.
func (w *Worker) settle(ctx context.Context, l *store.Lane, state store.DeliveryState) (more, held bool) {
	d := &l.Pending[0]
	d.State = state
	var settled store.Settled
	err := persist.Result(ctx, w.Clock, func(ctx context.Context) (err error) {
		settled, err = w.Store.Settle(ctx, d, l.Epoch, w.Clock.Now())
		return err
	})
	if err != nil {
		w.unstored(ctx, d, err)
		return false, false
	}
	w.Settled(ctx, d)
	if len(l.Pending) == 1 { // else more is read ahead already
		l.Pending = append(l.Pending, settled.Pending...)
	}
	return settled.More && ctx.Err() == nil, settled.More
}

// unstored notes that a result is lost; the attempt will be made again.
func (w *Worker) unstored(ctx context.Context, d *store.Delivery, err error) {
	if err == nil {
		return
	}
	w.Logger.LogAttrs(ctx, slog.LevelWarn, "result of a delivery attempt was not stored", slog.String("delivery", d.ID),
		slog.String("channel", d.EndpointID), slog.String("error", err.Error()))
}

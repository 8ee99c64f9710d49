package turns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc/status"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/persist"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/stack"
)

// work answers the pending messages of a thread that this worker holds.
func (w *Worker) work(t store.Thread) {
	stack.Grow()
	defer w.release(t.Instance)
	w.metrics.running.Inc()
	defer w.metrics.running.Dec()
	ctx, cancel := context.WithCancel(w.pool.Context())
	defer cancel()
	w.keeper.Hold(t.ThreadKey, t.Epoch, cancel)
	defer w.keeper.Drop(t.ThreadKey, t.Epoch)

	for range handBatch {
		if len(t.Pending) == 0 {
			var err error
			if t.Pending, err = w.Store.Messages(ctx, t.ThreadKey, t.DoneSeq, store.ReadAhead); err != nil || len(t.Pending) == 0 {
				break
			}
		}
		more, err := w.turn(ctx, &t, &t.Pending[0])
		if err != nil {
			w.putBack(ctx, t, err)
			return
		}
		if !more {
			return
		}
		t.DoneSeq, t.Failures, t.Strikes, t.Pending = t.Pending[0].Seq, 0, 0, t.Pending[1:]
	}
	w.putBack(ctx, t, nil)
}

// putBack ends the lease of a thread that has messages left. An error that is
// not from the turn itself, which has written its own end then, is about the store.
func (w *Worker) putBack(ctx context.Context, t store.Thread, cause error) {
	now := w.Clock.Now()
	var err error
	switch {
	case errors.Is(cause, errEnded):
		return
	case errors.Is(cause, store.ErrLeaseLost):
		w.metrics.turns.WithLabelValues(lost).Inc()
		return
	case cause == nil, errors.Is(cause, context.Canceled):
		if cause != nil {
			w.metrics.turns.WithLabelValues(interrupted).Inc()
		}
		err = persist.Result(ctx, w.Clock, func(ctx context.Context) error {
			return w.Store.ReleaseThread(ctx, t.ThreadKey, t.Epoch, now)
		})
		w.Queued(t.Instance)
	default:
		w.metrics.turns.WithLabelValues(retried).Inc()
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "turn could not be stored and will be repeated",
			slog.String("channel", t.ChannelID), slog.String("error", cause.Error()))
		next := now.Add(wait(t.Failures, w.Rand))
		err = persist.Result(ctx, w.Clock, func(ctx context.Context) error {
			return w.Store.PostponeThread(ctx, t.ThreadKey, t.Epoch, next, false)
		})
	}
	if err != nil && !errors.Is(err, store.ErrLeaseLost) {
		// The end of the lease does the same, later.
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "put thread back", slog.String("channel", t.ChannelID), slog.String("error", err.Error()))
	}
}

// errEnded says that the turn has ended the lease itself.
var errEnded = errors.New("lease has ended")

// turn has one message answered. It reports whether the thread has more.
func (w *Worker) turn(ctx context.Context, t *store.Thread, m *store.Message) (more bool, err error) {
	ctx, span := w.Tracer.Turn(ctx, m)
	defer span.End()
	defer func() {
		if value := recover(); value != nil {
			// The value may be somebody's words; its kind and the place are enough.
			w.Logger.LogAttrs(ctx, slog.LevelError, "turn panicked", slog.String("channel", t.ChannelID), slog.String("message", m.ID),
				slog.String("kind", fmt.Sprintf("%T", value)), slog.String("stack", string(debug.Stack())))
			span.Failed(panicked)
			more, err = w.failed(ctx, t, m, panicked, true)
		}
	}()
	endpoint, err := w.Directory.Endpoint(ctx, t.ChannelID)
	if errors.Is(err, directory.ErrNotFound) {
		// It was deleted after the message was accepted.
		if _, _, err := w.Store.CancelThreads(ctx, store.Endpoint{Instance: t.Instance, ID: t.ChannelID}); err != nil {
			return false, err
		}
		return false, errEnded
	}
	if err != nil {
		return false, err
	}
	answer, err := w.ask(ctx, endpoint, m)
	if err != nil {
		if ctx.Err() != nil {
			span.Failed(interrupted)
			return false, context.Canceled
		}
		if reason := rpcerr.Reason(err); reason == personErased || m.ReplyTo != "" && reason == conversationErased {
			return w.drop(ctx, t, m)
		}
		code := status.Code(err)
		span.Failed(code.String())
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "agent did not answer", slog.String("channel", t.ChannelID), slog.String("message", m.ID),
			slog.String("code", code.String()), slog.String("reason", rpcerr.Reason(err)))
		return w.failed(ctx, t, m, code.String(), final(code))
	}
	if more, err = w.finish(ctx, t, m, endpoint, answer, span.Traceparent()); err != nil {
		span.Failed(unstored)
	}
	return more, err
}

func (w *Worker) ask(ctx context.Context, endpoint *directory.Endpoint, m *store.Message) (*agentv1.RunTurnResponse, error) {
	if m.ReplyTo != "" {
		return w.reply(ctx, endpoint, m)
	}
	request, err := Request(endpoint, m)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.config.Timeout)
	defer cancel()
	return w.Agent.RunTurn(ctx, request)
}

// failed puts the thread off, or sets the message aside if that was its last
// strike, and says whether the thread has more then.
func (w *Worker) failed(ctx context.Context, t *store.Thread, m *store.Message, reason string, strike bool) (more bool, err error) {
	if strike && t.Strikes+1 >= maxStrikes {
		more, err := w.Store.SetAside(ctx, t.ThreadKey, t.Epoch, m.Seq, reason)
		if err == nil {
			w.metrics.turns.WithLabelValues(setAside).Inc()
			w.Logger.LogAttrs(ctx, slog.LevelError, "message was set aside: no turn could answer it",
				slog.String("channel", t.ChannelID), slog.String("message", m.ID), slog.String("reason", reason))
		}
		return more, err
	}
	err = w.Store.PostponeThread(ctx, t.ThreadKey, t.Epoch, w.Clock.Now().Add(wait(t.Failures, w.Rand)), strike)
	if err != nil {
		return false, err
	}
	w.metrics.turns.WithLabelValues(retried).Inc()
	return false, errEnded
}

// finish stores the answer and hands the head of its lane to the deliverer, if
// that has room; otherwise the deliverer finds it in the store.
func (w *Worker) finish(ctx context.Context, t *store.Thread, m *store.Message, endpoint *directory.Endpoint, answer *agentv1.RunTurnResponse, trace string) (bool, error) {
	turn := &store.Turn{
		ThreadKey: t.ThreadKey, Epoch: t.Epoch, Seq: m.Seq,
		ContactID: answer.GetContactId(), InteractionID: answer.GetInteractionId(),
		Answer: w.outgoing(endpoint, m, answer),
		Trace:  trace,
	}
	target, reserved := store.Endpoint{Instance: t.Instance, ID: t.ChannelID}, false
	if len(turn.Answer) > 0 && endpoint.Delivers() {
		turn.HoldLane, reserved = w.Deliveries.Reserve(target)
	}
	now := w.Clock.Now()
	finished, err := w.Store.FinishTurn(ctx, turn, now)
	if reserved {
		if err == nil && finished.LaneHeld {
			w.Deliveries.Start(finished.Lane)
		} else {
			w.Deliveries.Unreserve(target)
		}
	} else if err == nil && finished.Queued > 0 {
		w.Deliveries.Queued(target)
	}
	if err != nil {
		return false, err
	}
	if len(t.Pending) == 1 { // else more is read ahead already
		t.Pending = append(t.Pending, finished.Pending...)
	}
	w.Answered(endpoint, m.ID, answer)
	w.metrics.turns.WithLabelValues(answered).Inc()
	w.metrics.queued.Add(float64(finished.Queued))
	return finished.More, nil
}

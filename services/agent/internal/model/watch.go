package model

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

// watch ends a context, with a Fault as its cause, when a model takes too long: for its first token, for the next, or for all.
type watch struct {
	clock  clock.Clock
	token  clock.Timer
	next   time.Duration // how long the next token may take
	limit  time.Time     // of the first token
	first  time.Time     // when it came, zero until then
	flows  atomic.Bool   // it came
	cancel context.CancelCauseFunc
}

func (c *Client) watch(ctx context.Context, p *flow.Prompt) (*watch, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	now := c.deps.Clock.Now()
	whole := p.Deadline.Sub(now)
	w := &watch{clock: c.deps.Clock, next: defaultToken, cancel: cancel}
	if d := p.Settings.GetTokenTimeout(); d != nil {
		w.next = d.AsDuration()
	}
	first := defaultFirstToken
	if d := p.Settings.GetFirstTokenTimeout(); d != nil {
		first = d.AsDuration()
	}
	w.limit = now.Add(min(first, whole))
	w.token = c.deps.Clock.NewTimer(first)
	all := c.deps.Clock.NewTimer(whole)
	go func() {
		defer all.Stop()
		defer w.token.Stop()
		select {
		case <-ctx.Done():
		case <-all.C():
			cancel(fault(reasonTimeout))
		case <-w.token.C():
			if w.flows.Load() {
				cancel(fault(reasonToken))
			} else {
				cancel(fault(reasonFirstToken))
			}
		}
	}()
	return w, ctx
}

// progress says that the model gave something.
func (w *watch) progress() {
	if w.first.IsZero() {
		w.first = w.clock.Now()
		w.flows.Store(true)
	}
	w.token.Reset(w.next)
}

// left is how long a first token may still take.
func (w *watch) left() time.Duration { return w.limit.Sub(w.clock.Now()) }

func (w *watch) stop() { w.cancel(context.Canceled) }

package deliveries

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// Enter takes a place at an endpoint for what comes behind live messages; there
// is none while these wait for one. Leave gives it back.
func (w *Worker) Enter(e store.Endpoint) bool {
	return !w.waiting.Has(e) && w.endpoints.enter(e.ID, 1) == 1
}

// Leave gives a place at an endpoint back, and wakes the claimer if lanes wait
// for it; where the pool has no room for them, they have to wait for that too.
func (w *Worker) Leave(e store.Endpoint) {
	if w.endpoints.leave(e.ID, 1) {
		w.offer(e)
	}
}

// unexpect takes back the promise of a place, and wakes the claimer as Leave does.
func (w *Worker) unexpect(e store.Endpoint) {
	if w.endpoints.unexpect(e.ID) {
		w.offer(e)
	}
}

// calm is how long nothing live was sent where nothing live is disturbed.
const calm = 100 * time.Millisecond

// Calm reports whether this process has sent nothing live for a while.
func (w *Worker) Calm() bool {
	return w.Clock.Now().Sub(time.UnixMicro(w.lastWork.Load())) > calm
}

// offer has lanes of an endpoint claimed that wait, if any do. There is room at
// the endpoint.
func (w *Worker) offer(e store.Endpoint) {
	switch {
	case !w.waiting.Has(e):
	case w.pool.Room(e.Instance) > 0:
		w.wake.Notify()
	default:
		w.starved.Add(e.Instance)
	}
}

// place is a lane's place at its endpoint. It is held for an exchange, and not
// while what came of that is stored: what is bounded is what the receiver has to
// bear.
type place struct {
	worker   *Worker
	endpoint store.Endpoint
	held     bool
	// expected says that it is promised, and the lane has not come for it.
	expected bool
}

// take takes the place, unless it is held, and may wait for it. It reports false
// if there will be none soon, or ctx ended.
func (p *place) take(ctx context.Context) bool {
	if !p.held {
		expected := p.expected
		p.expected = false
		p.held = p.worker.endpoints.again(ctx, p.endpoint.ID, expected)
	}
	return p.held
}

// leave gives the place back if it is held or promised.
func (p *place) leave() {
	if p.expected {
		p.expected = false
		p.worker.unexpect(p.endpoint)
	}
	if p.held {
		p.held = false
		p.worker.Leave(p.endpoint)
	}
}

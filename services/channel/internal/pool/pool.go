// Package pool bounds how much work goes on at once, and ends it: first nothing
// new begins, then what goes on may finish, then it is interrupted.
package pool

import (
	"context"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// Pool has a number of slots. It is closed until Open. It is safe for concurrent use.
type Pool struct {
	size  int
	clock clock.Clock
	grace time.Duration

	mu     sync.Mutex
	open   bool
	used   int
	drain  chan struct{} // closed when a closed pool has no slot in use
	ctx    context.Context
	cancel context.CancelFunc
}

// New returns a pool of size slots, whose work has grace to finish after the
// soft stop.
func New(size int, c clock.Clock, grace time.Duration) *Pool {
	return &Pool{size: size, clock: c, grace: grace}
}

// Size is the number of slots.
func (p *Pool) Size() int { return p.size }

// Open lets work begin. The work's context has the values of ctx but not its
// end: it ends when Close has waited long enough.
func (p *Pool) Open(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open, p.drain = true, make(chan struct{})
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
}

// Context is that of the work of the slots in use.
func (p *Pool) Context() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ctx
}

// Reserve takes at most n slots and returns how many; none while the pool is closed.
func (p *Pool) Reserve(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open {
		return 0
	}
	n = max(0, min(n, p.size-p.used))
	p.used += n
	return n
}

// Free is how many slots are free; none while the pool is closed.
func (p *Pool) Free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open {
		return 0
	}
	return p.size - p.used
}

// Release gives n slots back and returns how many are free.
func (p *Pool) Release(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
	if p.used == 0 && !p.open && n > 0 {
		close(p.drain)
	}
	return p.size - p.used
}

// Close lets no work begin any more and returns when all slots are free. Work
// that goes on for longer than the grace is interrupted: its context ends.
func (p *Pool) Close() {
	p.mu.Lock()
	p.open = false
	drain, cancel := p.drain, p.cancel
	if p.used == 0 {
		close(drain)
	}
	p.mu.Unlock()
	defer cancel()

	timer := p.clock.NewTimer(p.grace)
	defer timer.Stop()
	select {
	case <-drain:
		return
	case <-timer.C():
	}
	cancel()
	<-drain
}

// Package pool bounds how much work goes on at once, shares that among
// instances, looks for work to begin, and ends it: first nothing new begins,
// then what goes on may finish, then it is interrupted.
package pool

import (
	"context"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// spared says how many slots stay free for others: an instance may have this
// many times as many slots as are free. So one instance alone gets 7 of 8,
// whatever it has to do, another one finds a slot at once, and the more there
// are, the less each has. (This is the dynamic threshold of Choudhury and Hahne
// for queues that share a memory.)
const spared = 7

// Pool has a number of slots. It is closed until Open. It is safe for concurrent use.
type Pool struct {
	size  int
	clock clock.Clock
	grace time.Duration

	mu     sync.Mutex
	open   bool
	used   int
	by     map[string]int // used, by instance; no zeros
	drain  chan struct{}  // closed when a closed pool has no slot in use
	ctx    context.Context
	cancel context.CancelFunc
}

// New returns a pool of size slots, whose work has grace to finish after the
// soft stop.
func New(size int, c clock.Clock, grace time.Duration) *Pool {
	return &Pool{size: size, clock: c, grace: grace, by: make(map[string]int)}
}

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

// Reserve takes at most n slots for an instance and returns how many; none
// while the pool is closed.
func (p *Pool) Reserve(instance string, n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = max(0, min(n, p.room(instance)))
	if n > 0 {
		p.used += n
		p.by[instance] += n
	}
	return n
}

// Room is how many slots an instance can take; none while the pool is closed.
func (p *Pool) Room(instance string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room(instance)
}

// room is Room; the caller holds the lock.
func (p *Pool) room(instance string) int {
	free, has := p.size-p.used, p.by[instance]
	if !p.open || free == 0 {
		return 0
	}
	n := (spared*free - has) / (spared + 1)
	if has == 0 {
		n = max(1, n)
	}
	return max(0, n)
}

// Free is how many slots nobody uses; none while the pool is closed.
func (p *Pool) Free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open {
		return 0
	}
	return p.size - p.used
}

// Worth reports whether an instance has so much room that a look at the store
// is worth its cost, which is the same for one slot and for many.
func (p *Pool) Worth(instance string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	room := p.room(instance)
	return room > 0 && 8*room >= p.by[instance]
}

// Release gives n slots of an instance back.
func (p *Pool) Release(instance string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
	if p.by[instance] -= n; p.by[instance] == 0 {
		delete(p.by, instance)
	}
	if p.used == 0 && !p.open && n > 0 {
		close(p.drain)
	}
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

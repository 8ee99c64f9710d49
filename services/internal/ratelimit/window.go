// Package ratelimit counts the calls of each key against an exact sliding window: no span of the window's length ever holds more
// than the limit, and no burst at a boundary doubles it.
package ratelimit

import (
	"fmt"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// Window is a limit: at most Limit calls in any span of Per.
type Window struct {
	// Limit is the number of calls, 1 or more.
	Limit int
	// Per is the length of the span, more than zero.
	Per time.Duration
}

// Decision is what a limiter says about one call.
type Decision struct {
	// Allowed says that the call may go on. Only allowed calls count.
	Allowed bool
	// Window is the limit that was asked.
	Window Window
	// Remaining is how many more calls would be allowed now.
	Remaining int
	// RetryAfter is when a refused call would be allowed. Zero for an allowed one.
	RetryAfter time.Duration
	// Reset is when Remaining will be larger than it is now; zero when nothing counts.
	Reset time.Duration
}

// maxKeys is how many keys a limiter holds before it throws out one that might still count: some 40 MiB at 20 calls a window.
const maxKeys = 65_536

// Limiter holds the counts of one window in this process. It is safe for concurrent use. Keys that have not called for a window
// take no memory for long.
type Limiter struct {
	window Window
	clock  clock.Clock
	limit  int

	mu      sync.Mutex
	keys    map[string]*calls
	sweepAt time.Time
}

// calls is a ring of the last times a key was allowed, at most Limit of them.
type calls struct {
	times []time.Time
	next  int // where the next time goes once the ring is full: its oldest
}

// New returns a limiter. It panics on a window without a limit or a length: that is a mistake in the program.
func New(window Window, c clock.Clock) *Limiter {
	if window.Limit < 1 || window.Per <= 0 {
		panic(fmt.Sprintf("rate limit of %d per %s", window.Limit, window.Per))
	}
	return &Limiter{window: window, clock: c, limit: maxKeys, keys: make(map[string]*calls), sweepAt: c.Now().Add(window.Per)}
}

// Window is the limiter's limit.
func (l *Limiter) Window() Window { return l.window }

// Take counts a call of the key, if it is allowed.
func (l *Limiter) Take(key string) Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	l.sweep(now)
	c := l.keys[key]
	if c == nil {
		l.makeRoom()
		c = &calls{}
		l.keys[key] = c
	}

	decision := Decision{Window: l.window}
	if len(c.times) == l.window.Limit {
		if wait := l.window.Per - now.Sub(c.times[c.next]); wait > 0 {
			decision.RetryAfter, decision.Reset = wait, wait
			return decision
		}
		c.times[c.next] = now
		c.next = (c.next + 1) % l.window.Limit
	} else {
		c.times = append(c.times, now)
	}
	decision.Allowed = true
	decision.Remaining, decision.Reset = l.state(c, now)
	return decision
}

// state is how many calls are left, and how long until the oldest that counts no longer does.
func (l *Limiter) state(c *calls, now time.Time) (remaining int, reset time.Duration) {
	counting := 0
	for i := range c.times {
		at := c.times[(c.next+i)%len(c.times)] // oldest first; next is 0 until the ring is full
		if left := l.window.Per - now.Sub(at); left > 0 {
			if counting == 0 {
				reset = left
			}
			counting++
		}
	}
	return l.window.Limit - counting, reset
}

// sweep forgets, once a window, the keys of which no call counts any more.
func (l *Limiter) sweep(now time.Time) {
	if now.Before(l.sweepAt) {
		return
	}
	l.sweepAt = now.Add(l.window.Per)
	for key, c := range l.keys {
		if now.Sub(c.latest()) >= l.window.Per {
			delete(l.keys, key)
		}
	}
}

// latest is the time of the last allowed call.
func (c *calls) latest() time.Time {
	if len(c.times) == 0 {
		return time.Time{}
	}
	return c.times[(c.next+len(c.times)-1)%len(c.times)]
}

// makeRoom keeps the number of keys bounded even when more call within one window than it can hold: any one is forgotten. With
// verified keys that is not reached; the memory must not depend on it.
func (l *Limiter) makeRoom() {
	for key := range l.keys {
		if len(l.keys) < l.limit {
			return
		}
		delete(l.keys, key)
	}
}

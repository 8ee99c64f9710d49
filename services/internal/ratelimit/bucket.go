package ratelimit

import (
	"fmt"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// Rate is a limit for high rates: PerSecond calls a second in the long run, and Burst at once after a pause. Unlike a [Window] it
// costs one time a key, however high it is, and lets up to Burst more through in a span of a second.
type Rate struct {
	// PerSecond is the number of calls a second, 1 or more.
	PerSecond int
	// Burst is the number of calls at once, 1 or more.
	Burst int
}

// Buckets counts the calls of each key against a rate, in this process. It is safe for concurrent use, and holds at most 65,536
// keys, for which it keeps nothing once they have been quiet for as long as a burst takes to come back. The nil Buckets has no
// limit.
type Buckets struct {
	each   time.Duration // what one call costs
	burst  time.Duration // what all calls of a burst cost
	clock  clock.Clock
	limit  int
	sweeps time.Duration

	mu sync.Mutex
	// full is when each key's bucket is full again (GCRA): a key that is not there has a full one.
	full    map[string]time.Time
	sweepAt time.Time
}

// NewBuckets returns a limiter. It panics on a rate or a burst of less than one: that is a mistake in the program.
func NewBuckets(rate Rate, c clock.Clock) *Buckets {
	if rate.PerSecond < 1 || rate.Burst < 1 {
		panic(fmt.Sprintf("rate limit of %d a second with bursts of %d", rate.PerSecond, rate.Burst))
	}
	each := max(1, time.Second/time.Duration(rate.PerSecond))
	burst := each * time.Duration(rate.Burst)
	return &Buckets{
		each: each, burst: burst, clock: c, limit: maxKeys, sweeps: max(burst, time.Second), full: make(map[string]time.Time),
		sweepAt: c.Now().Add(burst),
	}
}

// Take counts a call of the key if it is allowed; else wait is when one will be.
func (b *Buckets) Take(key string) (wait time.Duration, ok bool) { return b.take(key, true) }

// Peek is Take without counting: for calls that are counted only if they turn out badly.
func (b *Buckets) Peek(key string) (wait time.Duration, ok bool) { return b.take(key, false) }

func (b *Buckets) take(key string, count bool) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	full, known := b.full[key]
	if !known || full.Before(now) {
		full = now
	}
	full = full.Add(b.each)
	if wait = full.Sub(now) - b.burst; wait > 0 {
		return wait, false
	}
	if count {
		b.sweep(now)
		if !known {
			b.makeRoom()
		}
		b.full[key] = full
	}
	return 0, true
}

// sweep forgets now and then the keys whose bucket is full.
func (b *Buckets) sweep(now time.Time) {
	if now.Before(b.sweepAt) {
		return
	}
	b.sweepAt = now.Add(b.sweeps)
	for key, full := range b.full {
		if !full.After(now) {
			delete(b.full, key)
		}
	}
}

// makeRoom keeps the memory bounded when more keys call than it can hold: any one gets a full bucket.
func (b *Buckets) makeRoom() {
	for key := range b.full {
		if len(b.full) < b.limit {
			return
		}
		delete(b.full, key)
	}
}

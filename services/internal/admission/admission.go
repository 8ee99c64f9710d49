// Package admission lets so many calls in at once, has a few more wait a moment for a place, and turns the rest away at once. A process
// that takes all that comes is slow for everybody, and its callers have given up before it answers; one that takes what it can does
// that in time, and tells the others when to come back.
package admission

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// DefaultWait is how long a call waits for a place: long enough for a burst to pass, and short beside what callers wait for.
	DefaultWait = 250 * time.Millisecond
	// WaitersPerPlace is how many calls wait at most for each place there is. One that waits costs less than one that is turned away and
	// comes again.
	WaitersPerPlace = 16
)

// Gate has places. It is safe for concurrent use.
type Gate struct {
	places  chan struct{}
	waiting atomic.Int64
	wait    time.Duration
	clock   clock.Clock
}

// New returns a gate with a number of places, at least one. Calls wait for DefaultWait.
func New(places int, c clock.Clock) *Gate {
	return &Gate{places: make(chan struct{}, max(1, places)), wait: DefaultWait, clock: c}
}

// Enter takes a place, and waits a moment for one if there is none. It reports false when there was none in time, too many waited
// already, or ctx ended. Who is let in must Leave.
func (g *Gate) Enter(ctx context.Context) bool {
	select {
	case g.places <- struct{}{}:
		return true
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > int64(WaitersPerPlace*cap(g.places)) {
		return false
	}
	timer := g.clock.NewTimer(g.wait)
	defer timer.Stop()
	select {
	case g.places <- struct{}{}:
		return true
	case <-timer.C():
	case <-ctx.Done():
	}
	return false
}

// Leave gives a place back.
func (g *Gate) Leave() { <-g.places }

// Places is how many there are.
func (g *Gate) Places() int { return cap(g.places) }

// InFlight is how many calls have a place now, and Waiting how many wait for one.
func (g *Gate) InFlight() int { return len(g.places) }

// Waiting is how many calls wait for a place now.
func (g *Gate) Waiting() int { return int(min(g.waiting.Load(), int64(WaitersPerPlace*cap(g.places)))) }

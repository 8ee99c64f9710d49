package clock

import (
	"slices"
	"sync"
	"time"
)

// Manual is a clock that stands still until it is told to move. Timers fire in the order of their moments while it moves
// forward. The zero value is not usable; see NewManual.
type Manual struct {
	mu      sync.Mutex
	changed *sync.Cond
	now     time.Time
	timers  []*manualTimer // running timers, in no order
}

// NewManual returns a clock that stands at start.
func NewManual(start time.Time) *Manual {
	m := &Manual{now: start.UTC()}
	m.changed = sync.NewCond(&m.mu)
	return m
}

// Now is the moment at which the clock stands, in UTC.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves the clock forward by d and fires the timers whose moment has come, earliest first.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(m.now.Add(d))
}

// Set moves the clock to t and fires the timers whose moment has come, earliest first. Moving backwards is allowed, as wall
// clocks do it too, and fires nothing.
func (m *Manual) Set(t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(t.UTC())
}

// AwaitTimers waits until at least n timers are running. A test calls it before Advance, so that the code under test is known
// to have begun its wait.
func (m *Manual) AwaitTimers(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.timers) < n {
		m.changed.Wait()
	}
}

// NewTimer returns a timer that fires when the clock has moved d forward. A d of zero or less fires at once.
func (m *Manual) NewTimer(d time.Duration) Timer {
	t := &manualTimer{clock: m, c: make(chan time.Time, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.start(t, d)
	return t
}

func (m *Manual) start(t *manualTimer, d time.Duration) {
	t.at = m.now.Add(d)
	if d <= 0 {
		t.c <- m.now
		return
	}
	m.timers = append(m.timers, t)
	m.changed.Broadcast()
}

func (m *Manual) set(t time.Time) {
	m.now = t
	var due []*manualTimer
	m.timers = slices.DeleteFunc(m.timers, func(timer *manualTimer) bool {
		if timer.at.After(t) {
			return false
		}
		due = append(due, timer)
		return true
	})
	slices.SortStableFunc(due, func(a, b *manualTimer) int { return a.at.Compare(b.at) })
	for _, timer := range due {
		timer.c <- t
	}
}

// halt takes t out of the running timers and throws away a firing that nobody received.
func (m *Manual) halt(t *manualTimer) bool {
	i := slices.Index(m.timers, t)
	if i < 0 {
		select {
		case <-t.c:
		default:
		}
		return false
	}
	m.timers = slices.Delete(m.timers, i, i+1)
	return true
}

type manualTimer struct {
	clock *Manual
	c     chan time.Time // holds one: a running timer has nothing in it
	at    time.Time
}

func (t *manualTimer) C() <-chan time.Time { return t.c }

func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.clock.halt(t)
}

func (t *manualTimer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	running := t.clock.halt(t)
	t.clock.start(t, d)
	return running
}

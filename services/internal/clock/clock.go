// Package clock hands time to code as a value, so that a test decides what time it is and when a timer fires.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and makes timers. It is safe for concurrent use.
type Clock interface {
	// Now is the present moment in UTC.
	Now() time.Time
	// NewTimer returns a timer that fires once, d from now. A d of zero or less fires at once.
	NewTimer(d time.Duration) Timer
}

// Timer fires once unless it is stopped first. Its rules are those of time.Timer since Go 1.23: after Stop or Reset no value
// of the former setting is received any more, so callers need not drain the channel.
type Timer interface {
	// C receives the moment at which the timer fired. It is the same channel for the life of the timer.
	C() <-chan time.Time
	// Stop keeps the timer from firing; it reports whether the timer was still running.
	Stop() bool
	// Reset makes the timer fire d from now; it reports whether the timer was still running.
	Reset(d time.Duration) bool
}

// System is the clock of the machine.
func System() Clock { return system{} }

type system struct{}

func (system) Now() time.Time { return time.Now().UTC() }

func (system) NewTimer(d time.Duration) Timer { return systemTimer{timer: time.NewTimer(d)} }

type systemTimer struct{ timer *time.Timer }

func (t systemTimer) C() <-chan time.Time { return t.timer.C }

func (t systemTimer) Stop() bool { return t.timer.Stop() }

func (t systemTimer) Reset(d time.Duration) bool { return t.timer.Reset(d) }

// Wait waits until d has passed or wake brings something, whichever is first; a nil wake never does. It reports whether ctx
// goes on: false as soon as that has ended.
//
// The timer runs during the wait only. So a test that has seen it run (see Manual.AwaitTimers) knows that all the work before
// the wait is done, and that work after it sees the clock moved.
func Wait(ctx context.Context, c Clock, d time.Duration, wake <-chan struct{}) bool {
	timer := c.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

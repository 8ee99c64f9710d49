// Package quota counts the calls of API keys over all processes, against a limit for any span of one second and one for each
// calendar day, and knows what to do while the count cannot be reached.
package quota

import (
	"context"
	"time"
)

// Window is the span of the limit a second. It slides: no span of this length ever holds more calls than the limit, wherever it
// begins. It is a millisecond longer than a second, because a clock that counts may be made to run faster by up to half of that in
// a second when it is corrected (adjtime), and no second on any clock may hold more.
const Window = time.Second + slack

const slack = time.Millisecond

// MaxPerSecond is the highest limit a second that can be counted exactly: every call of the last second is remembered.
const MaxPerSecond = 1000

// MaxPerDay is the highest limit a day.
const MaxPerDay = 1_000_000_000

// Limits are what one key may do with calls of one kind.
type Limits struct {
	// PerSecond is the number of calls in any span of a second, up to MaxPerSecond. 0 is no limit.
	PerSecond int
	// PerDay is the number of calls on a calendar day, up to MaxPerDay. 0 is no limit.
	PerDay int
}

// None reports whether there is nothing to count against.
func (l Limits) None() bool { return l == Limits{} }

// Subject is whose calls of which kind are counted together.
type Subject struct {
	// Instance and Key are the key's.
	Instance, Key string
	// Kind is a short word for the calls.
	Kind string
}

// Ask is one call that a counter is asked about.
type Ask struct {
	Subject
	Limits
	// Day is the calendar day of the call, as Day.Number has it.
	Day int64
	// Floor is how many calls of that day the asker knows to be counted already. A counter that lost its memory goes on from
	// there.
	Floor int64
	// Add is how many calls of that day the asker let through while the counter could not be reached. They count if the call is
	// allowed; else the asker says them again.
	Add int64
}

// Tally is what a counter says about a call.
type Tally struct {
	// Allowed says that the call may go on, and is counted. Refused calls do not count.
	Allowed bool
	// Day is the day that the count is of: Ask.Day, or a later one that another asker was in already.
	Day int64
	// Used is how many calls of that day count, the allowed one included.
	Used int64
	// Recent is how many calls of the last second count, the allowed one included.
	Recent int
	// Reset is how long until Recent will be smaller; zero when nothing counts.
	Reset time.Duration
}

// Counter counts calls for all processes that share it. It judges with one clock, whoever asks, and keeps its count over restarts.
type Counter interface {
	// Take counts a call, if that is allowed. An error says that it cannot be told; the call may then count or not.
	Take(ctx context.Context, ask Ask) (Tally, error)
}

// Reader tells what was counted.
type Reader interface {
	// Used is how many calls of the day each of the subjects has, in their order. To ask counts nothing.
	Used(ctx context.Context, day int64, subjects []Subject) ([]int64, error)
}

// aheadAtMost is how many days a count may be ahead of an asker: the dates of two places differ by one at most, and of askers
// whose instance was moved from one end of the world to the other by two. What is further ahead was counted with a wrong clock.
const aheadAtMost = 2

// Current is the day that a call of the day counts on when the count so far is of the day counted. A day that has begun does not
// come back, so that neither two clocks nor a new time zone give a key a second helping; fresh says that the count begins anew.
func Current(counted, day int64) (current int64, fresh bool) {
	if counted >= day && counted <= day+aheadAtMost {
		return counted, false
	}
	return day, true
}

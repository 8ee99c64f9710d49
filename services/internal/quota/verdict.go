package quota

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Verdict is what becomes of a call, and what its caller is told of the limits.
type Verdict struct {
	// Allowed says that the call may go on.
	Allowed bool
	// RetryAfter is when a refused call may be tried again.
	RetryAfter time.Duration
	// Windows are the limits that there are, and how far each is used.
	Windows []State
}

// State is one limit and how far it is used.
type State struct {
	// Name is the limit's in the headers.
	Name string
	// Limit calls are allowed in each Per.
	Limit int
	Per   time.Duration
	// Remaining is how many calls would be allowed now.
	Remaining int
	// Reset is when there will be more.
	Reset time.Duration
}

// The names of the limits in the headers.
const (
	nameSecond = "second"
	nameDay    = "day"
)

// Policy is the field RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers, a list of RFC 9651): each limit's quota q and its
// window w in seconds: "second";q=10;w=1, "day";q=50000;w=86400. The window of a day is 86400 also on the days that are longer or
// shorter.
func (v Verdict) Policy() string {
	return v.list(func(s State) string { return fmt.Sprintf(";q=%d;w=%d", s.Limit, ceilSeconds(s.Per)) })
}

// Field is the field RateLimit of the same draft: what remains of each limit, r, and in how many seconds there will be more, t.
func (v Verdict) Field() string {
	return v.list(func(s State) string { return fmt.Sprintf(";r=%d;t=%d", s.Remaining, ceilSeconds(s.Reset)) })
}

func (v Verdict) list(parameters func(State) string) string {
	items := make([]string, len(v.Windows))
	for i, s := range v.Windows {
		items[i] = strconv.Quote(s.Name) + parameters(s)
	}
	return strings.Join(items, ", ")
}

// ceilSeconds does not make two of a second and its slack.
func ceilSeconds(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return max(1, int64((d-slack+time.Second-1)/time.Second))
}

// verdictOf puts a count into the caller's words.
func verdictOf(limits Limits, tally Tally, now time.Time, day Day) Verdict {
	v := Verdict{Allowed: tally.Allowed, Windows: make([]State, 0, 2)}
	if limits.PerSecond > 0 {
		v.Windows = append(v.Windows, State{
			Name: nameSecond, Limit: limits.PerSecond, Per: time.Second,
			Remaining: max(0, limits.PerSecond-tally.Recent), Reset: tally.Reset,
		})
	}
	left := day.End.Sub(now)
	if limits.PerDay > 0 {
		v.Windows = append(v.Windows, State{
			Name: nameDay, Limit: limits.PerDay, Per: secondsADay * time.Second,
			Remaining: max(0, limits.PerDay-int(tally.Used)), Reset: left,
		})
	}
	switch {
	case tally.Allowed:
	case dayIsUsed(limits, tally.Used):
		v.RetryAfter = left
	default:
		// A refusal may have been judged by a count that is a moment old, and then names no time.
		v.RetryAfter = max(tally.Reset, time.Millisecond)
	}
	return v
}

func dayIsUsed(limits Limits, used int64) bool {
	return limits.PerDay > 0 && used >= int64(limits.PerDay)
}

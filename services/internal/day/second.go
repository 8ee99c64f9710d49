package day

import (
	"fmt"
	"strings"
	"time"
)

// Second is a second on the clocks of a place, in no particular place.
type Second struct {
	shown time.Time // as if the place were UTC
}

// Layout is how a second is written.
const Layout = "2006-01-02 15:04:05"

// ParseSecond reads a second written YYYY-MM-DD HH:MM:SS; a T may stand between day and time, and the zero before a single digit
// may be missing. A second that the calendar does not have (2026-02-30) is an error, as is any other form.
func ParseSecond(text string) (Second, error) {
	date, clock, _ := strings.Cut(text, " ")
	if clock == "" {
		date, clock, _ = strings.Cut(text, "T")
	}
	t, err := time.Parse("2006-1-2 15:4:5", date+" "+clock)
	if err != nil {
		return Second{}, fmt.Errorf("parse second: %w", err)
	}
	return Second{t.Truncate(time.Second)}, nil
}

// SecondIn is what the clocks of a place show at a moment.
func SecondIn(t time.Time, place *time.Location) string { return t.In(place).Format(Layout) }

// String writes the second YYYY-MM-DD HH:MM:SS.
func (s Second) String() string { return s.shown.Format(Layout) }

// Before reports whether s comes before o.
func (s Second) Before(o Second) bool { return s.shown.Before(o.shown) }

// Start is the first moment at which the clocks of a place show the second. Where they are put forward over it, that is when they
// are; where they are put back and show it twice, the first time.
func (s Second) Start(place *time.Location) time.Time {
	first, _ := s.moments(place)
	return first
}

// End is the first moment after the clocks of a place showed the second for the last time.
func (s Second) End(place *time.Location) time.Time {
	_, last := s.moments(place)
	return last
}

// moments are when the clocks show the second for the first time, and when they have shown it for the last.
func (s Second) moments(place *time.Location) (first, end time.Time) {
	var shown []time.Time
	var before time.Time
	// Clocks are put at most once within a day, so one of the two offsets around it holds.
	for _, around := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := s.shown.Add(around).In(place).Zone()
		t := s.shown.Add(-time.Duration(offset) * time.Second)
		if before.IsZero() {
			before = t
		}
		if SecondIn(t, place) == s.String() {
			shown = append(shown, t)
		}
	}
	if len(shown) == 0 {
		// Counted from before the clocks were put forward, it comes after that.
		put, _ := before.In(place).ZoneBounds()
		return put.UTC(), put.UTC()
	}
	return shown[0].UTC(), shown[len(shown)-1].Add(time.Second).UTC()
}

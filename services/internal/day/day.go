// Package day is the calendar day in a place: when it begins there, and on which one a moment falls.
package day

import (
	"fmt"
	"time"
)

// Day is a day of the calendar, in no particular place.
type Day struct {
	year  int
	month time.Month
	day   int
}

// Parse reads a day written YYYY-MM-DD. A day that the calendar does not have (2026-02-30) is an error, as is any other form.
func Parse(text string) (Day, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return Day{}, fmt.Errorf("parse day: %w", err)
	}
	return of(t), nil
}

// In is the day on which t falls in a place.
func In(t time.Time, place *time.Location) Day { return of(t.In(place)) }

func of(t time.Time) Day {
	var d Day
	d.year, d.month, d.day = t.Date()
	return d
}

// String writes the day YYYY-MM-DD.
func (d Day) String() string {
	return time.Date(d.year, d.month, d.day, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
}

// Before reports whether d comes before e.
func (d Day) Before(e Day) bool {
	return time.Date(d.year, d.month, d.day, 0, 0, 0, 0, time.UTC).
		Before(time.Date(e.year, e.month, e.day, 0, 0, 0, 0, time.UTC))
}

// Next is the day after d.
func (d Day) Next() Day { return of(time.Date(d.year, d.month, d.day+1, 0, 0, 0, 0, time.UTC)) }

// Start is the first moment of the day in a place. That is not always midnight: where clocks are put forward at midnight there is
// none, and where they are put back at one there are two. A day that a place left out (Samoa, 2011-12-30) starts where the next one
// does.
func (d Day) Start(place *time.Location) time.Time {
	t := time.Date(d.year, d.month, d.day, 0, 0, 0, 0, place)
	if In(t, place).Before(d) {
		// Midnight was left out, and t counts from before it.
		_, end := t.ZoneBounds()
		return end
	}
	// Whatever is on this day already comes first. All clocks are put by multiples of a quarter of an hour.
	const quarter = 15 * time.Minute
	for earlier := t.Add(-quarter); In(earlier, place) == d; earlier = earlier.Add(-quarter) {
		t = earlier
	}
	return t
}

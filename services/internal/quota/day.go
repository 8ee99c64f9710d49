package quota

import (
	"sync"
	"time"
)

const secondsADay = 24 * 60 * 60

// Day is a calendar day somewhere in the world. Most have 24 hours.
type Day struct {
	// Number counts the days from 1970-01-01 to this date.
	Number int64
	// End is when the next date begins.
	End time.Time
}

// DayOf is the calendar day in the zone at a time.
func DayOf(now time.Time, zone *time.Location) Day {
	number := numberAt(now.In(zone))
	// The clocks may be changed before midnight, at it, or across it: so each step goes to the next midnight of the offset that
	// holds, or to where the offset ends.
	for at := now.In(zone); ; {
		hour, minute, second := at.Clock()
		past := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second +
			time.Duration(at.Nanosecond())
		next := at.Add(secondsADay*time.Second - past)
		if _, changed := at.ZoneBounds(); !changed.IsZero() && changed.Before(next) {
			next = changed
		}
		if numberAt(next) > number {
			return Day{Number: number, End: next.UTC()}
		}
		at = next
	}
}

func numberAt(local time.Time) int64 {
	year, month, day := local.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / secondsADay
}

// Date writes the day as "2006-01-02".
func (d Day) Date() string {
	return time.Unix(d.Number*secondsADay, 0).UTC().Format(time.DateOnly)
}

// Zones remembers loaded time zones: to read one from the system's files costs more than a call. There are some six hundred.
type Zones struct{ byName sync.Map }

// LoadOrUTC is the zone with an IANA name, and UTC when this machine does not know it: a day that begins at another hour is better
// than none.
func (z *Zones) LoadOrUTC(name string) *time.Location {
	if known, ok := z.byName.Load(name); ok {
		return known.(*time.Location)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	z.byName.Store(name, zone)
	return zone
}

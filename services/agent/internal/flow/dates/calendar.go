package dates

import "time"

// calendar counts days from today, which is midnight UTC: days have no zone, so no change of clocks can move them.
type calendar struct{ today time.Time }

// searchYears holds a 29 February even across a century that has no leap year.
const searchYears = 9

// day gives a day, and false if the month does not have it.
func day(year, month, number int) (time.Time, bool) {
	t := time.Date(year, time.Month(month), number, 0, 0, 0, 0, time.UTC)
	return t, month >= 1 && month <= 12 && t.Day() == number && int(t.Month()) == month
}

// ahead is so many days from today.
func (c calendar) ahead(days int) time.Time { return c.today.AddDate(0, 0, days) }

// dayOfYear is the next day with that number and month, today included.
func (c calendar) dayOfYear(number, month int) (time.Time, bool) {
	for year := c.today.Year(); year < c.today.Year()+searchYears; year++ {
		if t, ok := day(year, month, number); ok && !t.Before(c.today) {
			return t, true
		}
	}
	return time.Time{}, false
}

// lastDayOfYear is the last day with that number and month before today.
func (c calendar) lastDayOfYear(number, month int) (time.Time, bool) {
	for year := c.today.Year(); year > c.today.Year()-searchYears; year-- {
		if t, ok := day(year, month, number); ok && t.Before(c.today) {
			return t, true
		}
	}
	return time.Time{}, false
}

// dayOfMonth is the next day with that number, today included.
func (c calendar) dayOfMonth(number int) (time.Time, bool) {
	for months := range 12 {
		first := c.month(months)
		if t, ok := day(first.Year(), int(first.Month()), number); ok && !t.Before(c.today) {
			return t, true
		}
	}
	return time.Time{}, false
}

// lastDayOfMonth is the last day with that number before today.
func (c calendar) lastDayOfMonth(number int) (time.Time, bool) {
	for months := range 12 {
		first := c.month(-months)
		if t, ok := day(first.Year(), int(first.Month()), number); ok && t.Before(c.today) {
			return t, true
		}
	}
	return time.Time{}, false
}

// month is the first day of the month that is so many months from this one.
func (c calendar) month(months int) time.Time {
	return time.Date(c.today.Year(), c.today.Month()+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
}

// monthsAhead is this day so many months from now, and the last day of that month if it is shorter.
func (c calendar) monthsAhead(months int) time.Time {
	first := c.month(months)
	last := lastOfMonth(first)
	return first.AddDate(0, 0, min(c.today.Day(), last.Day())-1)
}

func lastOfMonth(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC)
}

// weekday is the next such day, today included.
func (c calendar) weekday(w time.Weekday) time.Time {
	return c.ahead((int(w) - int(c.today.Weekday()) + 7) % 7)
}

// weekdayAfter is the next such day after today.
func (c calendar) weekdayAfter(w time.Weekday) time.Time {
	if t := c.weekday(w); t.After(c.today) {
		return t
	}
	return c.ahead(7)
}

// weekdayBefore is the last such day before today.
func (c calendar) weekdayBefore(w time.Weekday) time.Time { return c.weekday(w).AddDate(0, 0, -7) }

// weekdayOfWeek is that day of the week that is so many weeks from this one. Weeks begin on Monday.
func (c calendar) weekdayOfWeek(w time.Weekday, weeks int) time.Time {
	fromMonday := func(w time.Weekday) int { return (int(w) + 6) % 7 }
	return c.ahead(7*weeks + fromMonday(w) - fromMonday(c.today.Weekday()))
}

// fullYear reads a year of two or four digits.
func (c calendar) fullYear(written int, digits int) int {
	if digits > 2 {
		return written
	}
	year := c.today.Year() - c.today.Year()%100 + written
	switch now := c.today.Year(); {
	case year > now+19:
		year -= 100
	case year <= now-81:
		year += 100
	}
	return year
}

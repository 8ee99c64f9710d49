// Package dates reads a day as people write it in Portuguese: "amanhã", "sexta que vem", "15/01", "daqui a 3 dias".
//
// It is pure: what day it is now is handed in. Where a phrase can mean several days, one rule decides:
//
//   - A day without a year is the next one, today included: "15/01" on 16 January is next year's. So are a day without a month ("dia
//     15") and a weekday without more ("sexta"); a day that a month lacks is looked for in the next that has it ("dia 31", "29/02").
//   - "sexta que vem" and "próxima sexta" are the first Friday after today, also when that is in this week; "sexta passada" is the last
//     one before today. "sexta da semana que vem" is that of the next week, "sexta desta semana" that of this one. Weeks begin on Monday.
//   - "semana que vem" is in seven days, "mês que vem" is the same day of the next month, and its last day if it is shorter.
//   - Of a year of two digits that reading is taken which lies from 80 years before this year to 19 years after it: "27" is 2027 in 2026,
//     "85" is 1985.
//   - A weekday beside a date must be the date's: "sexta, 16/01" is refused where 16 January is no Friday.
//
// A day that the calendar does not have is refused, not moved, and so is a bare number, which is more likely something else.
package dates

import (
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/flow/fold"
)

// maxText is how many bytes a phrase may have; nothing that is understood is longer.
const maxText = 80

// Parse gives the day that a phrase means, at midnight UTC, in the years 1 to 9999; false if it means none. now is the time at which it
// was said, in the time zone in which "hoje" is meant. Accents, case and small slips in the names of months and weekdays do not matter.
func Parse(text string, now time.Time) (time.Time, bool) {
	if len(text) > maxText {
		return time.Time{}, false
	}
	day, ok := parse(text, now)
	return day, ok && day.Year() >= 1 && day.Year() <= 9999
}

func parse(text string, now time.Time) (time.Time, bool) {
	if day, ok := isoDay(strings.TrimSpace(text)); ok {
		return day, true
	}
	year, month, day := now.Date()
	c := calendar{today: time.Date(year, month, day, 0, 0, 0, 0, time.UTC)}
	for phrase := normal(fold.String(text)); ; {
		if day, ok := c.phrase(phrase); ok {
			return day, true
		}
		word, rest, found := strings.Cut(phrase, " ")
		if !found || !before[word] {
			return time.Time{}, false
		}
		phrase = rest
	}
}

// isoDay reads a date of ISO 8601, alone or as the beginning of a time of RFC 3339, as date pickers send it: the date that is written
// there, in no zone.
func isoDay(text string) (time.Time, bool) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day, true
	}
	if moment, err := time.Parse(time.RFC3339, text); err == nil {
		year, month, day := moment.Date()
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC), true
	}
	return time.Time{}, false
}

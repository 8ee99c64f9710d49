package answer

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/flow/fold"
)

const isoDate = time.DateOnly

const maxDate = 64 // characters of a date; nothing that is understood is longer

var (
	numericDate = regexp.MustCompile(`^(\d{1,2})[/.-](\d{1,2})(?:[/.-](\d{4}))?$`)
	writtenDate = regexp.MustCompile(`^(?:dia )?(\d{1,2})[oº]? (?:de )?([a-z]+)(?: (?:de )?(\d{4}))?$`)
	weekdayDate = regexp.MustCompile(`^(?:(?:[ao]|n[ao]|n?est[ae]|(proxim[ao]|n[ao] proxim[ao])|(ultim[ao]|n[ao] ultim[ao])) )?` +
		`([a-z]+)(?:[- ]feira)?(?: (?:(que vem|proxim[ao])|(passad[ao])))?$`)

	months = map[string]time.Month{
		"janeiro": time.January, "fevereiro": time.February, "marco": time.March, "abril": time.April, "maio": time.May,
		"junho": time.June, "julho": time.July, "agosto": time.August, "setembro": time.September, "outubro": time.October,
		"novembro": time.November, "dezembro": time.December,
	}
	weekdays = map[string]time.Weekday{
		"domingo": time.Sunday, "segunda": time.Monday, "terca": time.Tuesday, "quarta": time.Wednesday, "quinta": time.Thursday,
		"sexta": time.Friday, "sabado": time.Saturday,
	}
	fromToday = map[string]int{
		"anteontem": -2, "ontem": -1, "hoje": 0, "amanha": 1, "depois de amanha": 2,
	}
)

// date reads a date as people write it and gives it as ISO 8601 (YYYY-MM-DD). It understands
//
//   - 2026-01-15, also with a time behind it, as date pickers send it: the date that is written there, in no zone;
//   - 15/01/2026, with / . or - between;
//   - 15/01, and "15 de janeiro": the next such day, today included;
//   - "15 de janeiro de 2026";
//   - "hoje", "amanhã", "depois de amanhã", "ontem", "anteontem";
//   - "sexta", "sexta-feira", "na sexta": the next such day, today included;
//   - "sexta que vem", "próxima sexta": the next such day after today; "sexta passada": the last one before today.
//
// A day that its month does not have is refused, not moved.
func date(s string, now time.Time) (string, bool) {
	if len(s) > maxDate {
		return "", false
	}
	if iso, ok := isoPrefix(s); ok {
		return iso, true
	}
	s = strings.Join(strings.Fields(fold.String(s)), " ")
	year, month, day := now.Date()
	today := time.Date(year, month, day, 0, 0, 0, 0, time.UTC) // a calendar day; the zone has done its part
	if days, ok := fromToday[s]; ok {
		return today.AddDate(0, 0, days).Format(isoDate), true
	}
	if m := numericDate.FindStringSubmatch(s); m != nil {
		return dayOfMonth(m[1], integer(m[2]), m[3], today)
	}
	if m := writtenDate.FindStringSubmatch(s); m != nil {
		return dayOfMonth(m[1], int(months[m[2]]), m[3], today)
	}
	if m := weekdayDate.FindStringSubmatch(s); m != nil {
		return dayOfWeek(m[3], m[1] != "" || m[4] != "", m[2] != "" || m[5] != "", today)
	}
	return "", false
}

// isoPrefix accepts a date of ISO 8601, alone or as the beginning of a time of RFC 3339.
func isoPrefix(s string) (string, bool) {
	if t, err := time.Parse(isoDate, s); err == nil {
		return inCalendar(t)
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return inCalendar(t)
	}
	return "", false
}

func inCalendar(t time.Time) (string, bool) { return t.Format(isoDate), t.Year() >= 1 }

// dayOfMonth checks a day; without a year it takes the first year from today on that has it. month 0 is none.
func dayOfMonth(dayText string, month int, yearText string, today time.Time) (string, bool) {
	day := integer(dayText)
	if month < 1 || month > 12 || day < 1 {
		return "", false
	}
	if yearText != "" {
		t, ok := calendarDay(integer(yearText), month, day)
		if !ok {
			return "", false
		}
		return inCalendar(t)
	}
	// Nine years hold a 29 February even across a century that has no leap year.
	for year := today.Year(); year < today.Year()+9; year++ {
		if t, ok := calendarDay(year, month, day); ok && !t.Before(today) {
			return t.Format(isoDate), true
		}
	}
	return "", false
}

// calendarDay gives the day, and false if the month does not have it.
func calendarDay(year, month, day int) (time.Time, bool) {
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return t, t.Day() == day && int(t.Month()) == month
}

func dayOfWeek(name string, next, last bool, today time.Time) (string, bool) {
	weekday, ok := weekdays[name]
	if !ok || next && last {
		return "", false
	}
	ahead := (int(weekday) - int(today.Weekday()) + 7) % 7
	switch {
	case next && ahead == 0:
		ahead = 7
	case last:
		ahead -= 7
	}
	return today.AddDate(0, 0, ahead).Format(isoDate), true
}

// integer reads digits that a pattern has let through.
func integer(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

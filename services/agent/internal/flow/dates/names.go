package dates

import (
	"maps"
	"slices"
	"time"
)

var months = map[string]time.Month{
	"janeiro": time.January, "fevereiro": time.February, "marco": time.March, "abril": time.April, "maio": time.May, "junho": time.June,
	"julho": time.July, "agosto": time.August, "setembro": time.September, "outubro": time.October, "novembro": time.November,
	"dezembro": time.December,
}

var monthsShort = map[string]time.Month{
	"jan": time.January, "fev": time.February, "mar": time.March, "abr": time.April, "mai": time.May, "jun": time.June, "jul": time.July,
	"ago": time.August, "set": time.September, "out": time.October, "nov": time.November, "dez": time.December,
}

var weekdays = map[string]time.Weekday{
	"domingo": time.Sunday, "segunda": time.Monday, "terca": time.Tuesday, "quarta": time.Wednesday, "quinta": time.Thursday,
	"sexta": time.Friday, "sabado": time.Saturday,
}

var weekdaysShort = map[string]time.Weekday{
	"dom": time.Sunday, "seg": time.Monday, "ter": time.Tuesday, "qua": time.Wednesday, "qui": time.Thursday, "sex": time.Friday,
	"sab": time.Saturday,
}

// minSlip is how many letters a name must have for one of them to be wrong.
const minSlip = 5

func monthNamed(name string) (time.Month, bool) { return named(name, months, monthsShort) }

func weekdayNamed(name string) (time.Weekday, bool) { return named(name, weekdays, weekdaysShort) }

// named finds a name: as it stands, or that single one which differs by one slip of the pen.
func named[V any](name string, full, short map[string]V) (V, bool) {
	if v, ok := full[name]; ok {
		return v, true
	}
	if v, ok := short[name]; ok {
		return v, true
	}
	var (
		found V
		count int
	)
	for _, candidate := range slices.Sorted(maps.Keys(full)) {
		if len(candidate) >= minSlip && oneSlip(name, candidate) {
			found = full[candidate]
			count++
		}
	}
	return found, count == 1
}

// oneSlip reports whether two words differ by one letter that is missing, too many, or another one, or by two that changed places.
func oneSlip(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	if i == len(a) {
		return true
	}
	return a[i+1:] == b[i+1:] || i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

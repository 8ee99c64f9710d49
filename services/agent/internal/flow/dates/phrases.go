package dates

import (
	"regexp"
	"strconv"
	"time"
)

// fixed are phrases that are so many days from today.
var fixed = map[string]int{
	"hoje": 0, "agora": 0, "amanha": 1, "ontem": -1, "anteontem": -2, "antes de ontem": -2, "depois de amanha": 2,
	"dia seguinte": 1, "proximo dia": 1,
}

// holidays are days of the year that have a name.
var holidays = map[string][2]int{
	"natal": {25, 12}, "vespera de natal": {24, 12}, "ano novo": {1, 1}, "vespera de ano novo": {31, 12}, "reveillon": {31, 12},
	"fim do ano": {31, 12}, "fim de ano": {31, 12},
}

// The pieces of which the patterns are made.
const (
	next = `(?:que vem|proxim[ao]|seguinte)`
	past = `(?:passad[ao]|anterior)`
)

// pattern is a form that a phrase can have, and what it means.
type pattern struct {
	form    *regexp.Regexp
	meaning func(c calendar, m []string) (time.Time, bool)
}

func form(source string, meaning func(c calendar, m []string) (time.Time, bool)) pattern {
	return pattern{regexp.MustCompile(`^(?:` + source + `)$`), meaning}
}

// patterns are tried in this order; the first that fits decides.
var patterns = []pattern{
	// 15/01, 15-1-27, 15.01.2027, 15 01 2027, 15/jan/2027
	form(`(?:dia )?(\d{1,2})(?:[/.-]| ?/ ?| )(\d{1,2}|[a-z]{3,9})(?:(?:[/.-]| ?/ ?| (?:de )?)(\d{4}|\d{2}))?`, written),
	// 15012027
	form(`(\d{2})(\d{2})(\d{4})`, written),
	// 2027/01/15
	form(`(\d{4})[/.](\d{1,2})[/.](\d{1,2})`, func(c calendar, m []string) (time.Time, bool) {
		return written(c, []string{"", m[3], m[2], m[1]})
	}),
	// 15 de janeiro de 2027, dia 15 de jan, 15 do 1
	form(`(?:dia )?(\d{1,2}) (?:de|do mes|do) ([a-z]{3,9}|\d{1,2})(?: (?:de |do )?(\d{4}|\d{2}))?`, written),
	// 15 de janeiro do ano que vem
	form(`(?:dia )?(\d{1,2})(?:/| de | do )([a-z]{3,9}|\d{1,2}) (?:d[eo]|deste|desse) (?:(ano|proximo ano)(?: (que vem|seguinte|passado|anterior))?)`, ofYear),
	// 15 de janeiro passado
	form(`(?:dia )?(\d{1,2})(?:/| de | do )([a-z]{3,9}|\d{1,2}) (?:passado|ultimo)`, func(c calendar, m []string) (time.Time, bool) {
		return c.lastDayOfYear(integer(m[1]), monthOf(m[2]))
	}),
	// dia 15
	form(`(?:proximo )?dia (\d{1,2})(?: (?:`+next+`|agora))?`, func(c calendar, m []string) (time.Time, bool) {
		return c.dayOfMonth(integer(m[1]))
	}),
	// dia 15 passado
	form(`dia (\d{1,2}) (?:passado|ultimo)|ultimo dia (\d{1,2})`, func(c calendar, m []string) (time.Time, bool) {
		return c.lastDayOfMonth(integer(m[1] + m[2]))
	}),
	// dia 15 do mês que vem, dia 15 deste mês
	form(`(?:dia )?(\d{1,2}) (?:do|de|deste|desse) (proximo )?mes(?: (?:(`+next+`)|(`+past+`)))?`, func(c calendar, m []string) (time.Time, bool) {
		first := c.month(shift(m[2] != "" || m[3] != "", m[4] != ""))
		return day(first.Year(), int(first.Month()), integer(m[1]))
	}),
	// daqui a 3 dias, em duas semanas
	form(`(?:daqui a|daqui|dentro de|depois de|em|apos|a) (\d{1,4}) (dia|semana|mes|ano)`, func(c calendar, m []string) (time.Time, bool) {
		return c.distance(integer(m[1]), m[2]), true
	}),
	form(`(\d{1,4}) (dia|semana|mes|ano) (?:a frente|depois)`, func(c calendar, m []string) (time.Time, bool) {
		return c.distance(integer(m[1]), m[2]), true
	}),
	// há 3 dias, 3 dias atrás
	form(`(?:ha|faz|tem) (\d{1,4}) (dia|semana|mes|ano)(?: atras)?`, ago),
	form(`(\d{1,4}) (dia|semana|mes|ano) (?:atras|antes)`, ago),
	// semana que vem, próximo mês, ano passado
	form(`(proxim[ao]|ultim[ao])? ?(semana|mes|ano)(?: (?:(`+next+`)|(`+past+`)))?`, func(c calendar, m []string) (time.Time, bool) {
		ahead := m[1] != "" && m[1][0] == 'p' || m[3] != ""
		back := m[1] != "" && m[1][0] == 'u' || m[4] != ""
		return c.distance(shift(ahead, back), m[2]), ahead != back
	}),
	// fim do mês, início do próximo mês
	form(`(fim|ultimo dia|inicio|1 dia|meio) (?:do|de|deste|desse) (proximo )?mes(?: (?:(`+next+`)|(`+past+`)))?`,
		func(c calendar, m []string) (time.Time, bool) {
			return c.partOfMonth(m[1], shift(m[2] != "" || m[3] != "", m[4] != ""), m[2]+m[3]+m[4] != ""), true
		}),
	// fim de semana, próximo fim de semana: its Saturday
	form(`(?:(?:este|esse|neste|nesse) )?(proximo )?fim de semana(?: (?:(`+next+`)|(`+past+`)))?`, func(c calendar, m []string) (time.Time, bool) {
		switch {
		case m[3] != "":
			return c.weekdayOfWeek(time.Saturday, -1), true
		case m[1] != "" || m[2] != "":
			return c.weekdayOfWeek(time.Saturday, 1), true
		case c.today.Weekday() == time.Sunday:
			return c.today, true
		default:
			return c.weekdayOfWeek(time.Saturday, 0), true
		}
	}),
	// sexta da semana que vem, sexta desta semana
	form(`([a-z]+)(?:[- ]feira)? (?:da|de|desta|dessa|na|nesta|nessa) (proxima )?semana(?: (?:(`+next+`)|(`+past+`)))?`,
		func(c calendar, m []string) (time.Time, bool) {
			w, ok := weekdayNamed(m[1])
			return c.weekdayOfWeek(w, shift(m[2] != "" || m[3] != "", m[4] != "")), ok
		}),
	// sexta, sexta-feira que vem, na próxima sexta, sexta passada
	form(`(?:(n?est[ae]|n?ess[ae])|(?:n[ao] )?(proxim[ao])|(?:n[ao] )?(ultim[ao]))? ?([a-z]+)(?:[- ]feira)?`+
		`(?: (?:(agora)|(que vem|proxim[ao]|seguinte)|(passad[ao])|(retrasad[ao])))?`, weekdayPhrase),
}

// datedWeekday is a weekday beside a date: sexta 16/01, sexta-feira dia 16 de janeiro.
var datedWeekday = regexp.MustCompile(`^([a-z]+)(?:[- ]feira)? ((?:dia )?\d.*)$`)

// phrase gives the day that a normal phrase means.
func (c calendar) phrase(s string) (time.Time, bool) {
	if m := datedWeekday.FindStringSubmatch(s); m != nil {
		if w, ok := weekdayNamed(m[1]); ok {
			t, ok := c.date(m[2])
			return t, ok && t.Weekday() == w
		}
	}
	return c.date(s)
}

// date is phrase without a weekday beside the date.
func (c calendar) date(s string) (time.Time, bool) {
	if days, ok := fixed[s]; ok {
		return c.ahead(days), true
	}
	if holiday, ok := holidays[s]; ok {
		return c.dayOfYear(holiday[0], holiday[1])
	}
	for _, p := range patterns {
		if m := p.form.FindStringSubmatch(s); m != nil {
			if t, ok := p.meaning(c, m); ok {
				return t, true
			}
		}
	}
	// The one other word for which a slip is worth while.
	return c.ahead(1), len(s) >= minSlip && oneSlip(s, "amanha")
}

// written is a day, a month as a number or a name, and perhaps a year.
func written(c calendar, m []string) (time.Time, bool) {
	number, month := integer(m[1]), monthOf(m[2])
	if m[3] == "" {
		return c.dayOfYear(number, month)
	}
	return day(c.fullYear(integer(m[3]), len(m[3])), month, number)
}

// ofYear is a day and a month with a year that is named by its place.
func ofYear(c calendar, m []string) (time.Time, bool) {
	ahead := m[3] == "proximo ano" || m[4] == "que vem" || m[4] == "seguinte"
	back := m[4] == "passado" || m[4] == "anterior"
	return day(c.today.Year()+shift(ahead, back), monthOf(m[2]), integer(m[1]))
}

func weekdayPhrase(c calendar, m []string) (time.Time, bool) {
	w, ok := weekdayNamed(m[4])
	this, ahead, back := m[1] != "" || m[5] != "", m[2] != "" || m[6] != "", m[3] != "" || m[7] != ""
	switch {
	case !ok || ahead && back || this && back:
		return time.Time{}, false
	case m[8] != "":
		return c.weekdayBefore(w).AddDate(0, 0, -7), !this && !ahead && !back
	case ahead:
		return c.weekdayAfter(w), true
	case back:
		return c.weekdayBefore(w), true
	default:
		return c.weekday(w), true
	}
}

func ago(c calendar, m []string) (time.Time, bool) { return c.distance(-integer(m[1]), m[2]), true }

// distance is so many days, weeks, months or years from today.
func (c calendar) distance(count int, unit string) time.Time {
	switch unit {
	case "dia":
		return c.ahead(count)
	case "semana":
		return c.ahead(7 * count)
	case "mes":
		return c.monthsAhead(count)
	default:
		return c.monthsAhead(12 * count)
	}
}

// partOfMonth is the beginning, the middle or the end of a month. Of no month in particular the next one is meant, today included.
func (c calendar) partOfMonth(part string, months int, certain bool) time.Time {
	number := func(first time.Time) int {
		switch part {
		case "fim", "ultimo dia":
			return lastOfMonth(first).Day()
		case "meio":
			return 15
		default:
			return 1
		}
	}
	t := c.month(months)
	t = t.AddDate(0, 0, number(t)-1)
	if t.Before(c.today) && !certain {
		t = c.month(months + 1)
		t = t.AddDate(0, 0, number(t)-1)
	}
	return t
}

// shift is 1 ahead, -1 back, and 0 for neither.
func shift(ahead, back bool) int {
	switch {
	case ahead && !back:
		return 1
	case back && !ahead:
		return -1
	default:
		return 0
	}
}

// monthOf reads a month, as a number or a name; 0 is none.
func monthOf(s string) int {
	if isDigits(s) {
		return integer(s)
	}
	month, ok := monthNamed(s)
	if !ok {
		return 0
	}
	return int(month)
}

// integer reads digits that a pattern has let through.
func integer(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

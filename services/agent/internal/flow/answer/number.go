package answer

import "strings"

const maxNumber = 64 // characters of a number; more is a mistake, or mischief

// number reads a number as it is written in Brazil (1.234,56) or plainly (1234.56, 1,234.56), with or without "R$", and gives it with a
// point and without thousands separators, leading zeros and trailing zeros after the point.
//
// A single point before exactly three digits separates thousands, as Brazilians write it: "1.500" is 1500, but "1.5" is 1.5 and "0.500" is
// 0.5. A single comma is always the decimal comma.
func number(s string) (string, bool) {
	if len(s) > maxNumber {
		return "", false
	}
	s, negative := cutSign(s)
	if rest, found := strings.CutPrefix(s, "R$"); found && !negative {
		s, negative = cutSign(strings.TrimSpace(rest))
	}
	whole, fraction, ok := split(s)
	if !ok {
		return "", false
	}
	whole = strings.TrimLeft(whole, "0")
	fraction = strings.TrimRight(fraction, "0")
	if whole == "" {
		whole = "0"
	}
	canonical := whole
	if fraction != "" {
		canonical += "." + fraction
	}
	if negative && canonical != "0" {
		canonical = "-" + canonical
	}
	return canonical, true
}

func cutSign(s string) (rest string, negative bool) {
	if rest, found := strings.CutPrefix(s, "-"); found {
		return rest, true
	}
	return strings.TrimPrefix(s, "+"), false
}

// split gives the digits before and after the decimal separator.
func split(s string) (whole, fraction string, ok bool) {
	decimal := decimalSeparator(s)
	if decimal != 0 {
		at := strings.LastIndexByte(s, decimal)
		s, fraction = s[:at], s[at+1:]
		if fraction == "" || !digits(fraction) {
			return "", "", false
		}
		if s == "" {
			return "", fraction, true // ",5"
		}
	}
	thousands := byte('.')
	if decimal == '.' || decimal == 0 && strings.IndexByte(s, '.') < 0 {
		thousands = ','
	}
	groups := strings.Split(s, string(thousands))
	for i, group := range groups {
		if !digits(group) || i > 0 && len(group) != 3 || i == 0 && len(groups) > 1 && len(group) > 3 {
			return "", "", false
		}
	}
	return strings.Join(groups, ""), fraction, true
}

// decimalSeparator tells which byte separates the fraction, 0 if there is none.
func decimalSeparator(s string) byte {
	points, commas := strings.Count(s, "."), strings.Count(s, ",")
	point, comma := strings.LastIndexByte(s, '.'), strings.LastIndexByte(s, ',')
	switch {
	case points > 0 && commas > 0:
		if point > comma {
			return '.'
		}
		return ','
	case commas == 1:
		return ','
	case points == 1 && !thousandsPoint(s, point):
		return '.'
	default:
		return 0
	}
}

// thousandsPoint reports whether the only point of s, at the given place, separates thousands.
func thousandsPoint(s string, at int) bool {
	return len(s)-at-1 == 3 && at >= 1 && at <= 3 && s[0] != '0'
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

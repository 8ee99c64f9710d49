package answer

import (
	"strings"
	"unicode"
)

// brazil is the country code.
const brazil = "55"

// areas are the area codes of Brazil (DDD, Anatel), tens by units.
var areas = map[byte]string{
	'1': "123456789", '2': "12478", '3': "1234578", '4': "123456789", '5': "1345", '6': "123456789", '7': "134579", '8': "123456789", '9': "123456789",
}

// phone accepts a phone number and gives it as E.164 (+5511987654321).
//
// Without a country code it is one of Brazil and needs its area code: (11) 98765-4321, also with +55 or 55 before it, and with the trunk
// prefix 0, with or without a carrier's code. A mobile number in the old form, of eight digits that begin with 6 to 9, gets the ninth digit,
// which all have since 2016. A number of another country needs its + and has 8 to 15 digits. Free lines (0800) are nobody's number.
func phone(s string) (string, bool) {
	international, number, ok := dialled(s)
	if !ok {
		return "", false
	}
	if international && !strings.HasPrefix(number, brazil) {
		if len(number) < 8 || len(number) > 15 || number[0] == '0' {
			return "", false
		}
		return "+" + number, true
	}
	national, ok := national(number, international)
	if !ok {
		return "", false
	}
	return "+" + brazil + national, true
}

// dialled takes the punctuation off a number, and says whether it began with a plus sign.
func dialled(s string) (international bool, number string, ok bool) {
	if len(s) > maxWritten {
		return false, "", false
	}
	s, international = strings.CutPrefix(s, "+")
	out := make([]byte, 0, len(s))
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			out = append(out, byte(r))
		case strings.ContainsRune("()-–./", r), unicode.IsSpace(r):
		default:
			return false, "", false
		}
	}
	return international, string(out), len(out) > 0
}

// national gives the area code and the number of a line in Brazil: ten digits of a fixed line, eleven of a mobile one.
func national(number string, international bool) (string, bool) {
	switch rest, found := strings.CutPrefix(number, brazil); {
	case international:
		number = rest
	case found && len(rest) >= 10:
		// 55 is an area code too, but then the number is shorter.
		number = rest
	default:
		number = withoutTrunk(number)
	}
	number = strings.TrimPrefix(number, "0") // +55 (011) …
	if len(number) != 10 && len(number) != 11 || !strings.Contains(areas[number[0]], number[1:2]) {
		return "", false
	}
	area, line := number[:2], number[2:]
	switch {
	case len(line) == 9 && line[0] == '9', len(line) == 8 && line[0] >= '2' && line[0] <= '5':
		return area + line, true
	case len(line) == 8 && line[0] >= '6':
		return area + "9" + line, true
	default:
		return "", false
	}
}

// withoutTrunk takes off the 0 that is dialled before an area code, and the two digits of a carrier that may follow it.
func withoutTrunk(number string) string {
	rest, found := strings.CutPrefix(number, "0")
	if found && len(rest) >= 12 {
		return rest[2:]
	}
	return rest
}

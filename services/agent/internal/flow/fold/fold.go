// Package fold makes texts comparable the way people compare them: without case, without accents, without outer spaces.
package fold

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// String returns s without case, accents and outer spaces. Two texts that are the same to a person who types in a hurry give the same
// result: " OPÇÃO 1" and "opcao 1".
func String(s string) string {
	s = strings.TrimSpace(s)
	if ascii, upper := scan(s); ascii {
		if !upper {
			return s
		}
		return strings.ToLower(s)
	}
	decomposed := norm.NFD.String(cases.Fold().String(strings.ToValidUTF8(s, "\uFFFD")))
	bare := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, decomposed)
	// A mark can stand between the text and an outer space.
	return norm.NFC.String(strings.TrimSpace(bare))
}

// Equal reports whether a and b are the same but for case, accents and outer spaces.
func Equal(a, b string) bool { return a == b || String(a) == String(b) }

// scan tells whether s is all ASCII, which most texts are and needs no tables, and whether it has a capital letter.
func scan(s string) (ascii, upper bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x80:
			return false, false
		case c >= 'A' && c <= 'Z':
			upper = true
		}
	}
	return true, upper
}

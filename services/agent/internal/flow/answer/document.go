package answer

import (
	"strings"
	"unicode"
)

// maxWritten is how many bytes a document or a phone number may have as it is written, with its label and punctuation.
const maxWritten = 64

// cpf accepts a person's taxpayer number, with or without punctuation, and gives its 11 digits. The last two are check digits (Receita
// Federal, modulo 11). A number of eleven equal digits passes that check and is nobody's.
func cpf(s string) (string, bool) {
	s, ok := bare(s, "CPF")
	if !ok || len(s) != 11 || !digits(s) || allEqual(s) || s[9] != check11(s[:9], 11) || s[10] != check11(s[:10], 11) {
		return "", false
	}
	return s, true
}

// cnpj accepts a company's taxpayer number, with or without punctuation, and gives its 14 characters. The first twelve are digits, or as
// given since July 2026 also capital letters (Instrução Normativa RFB 2.229/2024); the last two are check digits, in which a letter counts
// as its ASCII code less 48.
func cnpj(s string) (string, bool) {
	s, ok := bare(s, "CNPJ")
	if !ok || len(s) != 14 || !digits(s[12:]) || allEqual(s) || s[12] != check11(s[:12], 9) || s[13] != check11(s[:13], 9) {
		return "", false
	}
	return s, true
}

// bare takes the label and the punctuation off a document's number, and gives letters as capitals; false if anything else is in it.
func bare(s, label string) (string, bool) {
	if len(s) > maxWritten {
		return "", false
	}
	s = strings.TrimLeft(strings.TrimPrefix(strings.ToUpper(s), label), ": ")
	out := make([]byte, 0, len(s))
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r >= 'A' && r <= 'Z':
			out = append(out, byte(r))
		case strings.ContainsRune(".-/–", r), unicode.IsSpace(r):
		default:
			return "", false
		}
	}
	return string(out), true
}

// check11 is the check digit modulo 11 of a number: from the right its characters weigh 2, 3, … up to the greatest weight, and then from
// 2 again.
func check11(number string, greatest int) byte {
	sum, weight := 0, 2
	for i := len(number) - 1; i >= 0; i-- {
		sum += int(number[i]-'0') * weight
		if weight++; weight > greatest {
			weight = 2
		}
	}
	if rest := sum % 11; rest >= 2 {
		return byte('0' + 11 - rest)
	}
	return '0'
}

func allEqual(s string) bool { return strings.Count(s, s[:1]) == len(s) }

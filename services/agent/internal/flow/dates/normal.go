package dates

import (
	"strconv"
	"strings"
)

// punctuation is what stands between the words of a phrase, and the signs of ordinals.
var punctuation = strings.NewReplacer(",", " ", ";", " ", "!", " ", "?", " ", "(", " ", ")", " ", "ª", "a", "º", "o", "°", "o", "–", "-")

// normal brings a folded phrase into the form that the patterns know: words with one space between, numbers in digits, without what
// stands behind the day and says nothing about it.
func normal(folded string) string {
	words := strings.Fields(punctuation.Replace(folded))
	for i, word := range words {
		word = strings.TrimRight(word, ".")
		if full, ok := abbreviations[word]; ok {
			word = full
		}
		words[i] = word
	}
	phrase := strings.Join(numbers(words), " ")
	for _, extra := range after {
		phrase = strings.TrimSuffix(phrase, extra)
	}
	return phrase
}

// before are words that may stand before a date and say nothing about it.
var before = set("e", "eh", "foi", "acho", "que", "ser", "pode", "sera", "seria", "vai", "para", "pra", "pro", "no", "na", "em", "o", "a", "la",
	"comprei", "quero", "talvez", "data", "ate", "desde", "so", "ja")

// after are ends of a phrase that say nothing about the day.
var after = []string{
	" por favor", " pfv", " obrigado", " obrigada", " de manha", " pela manha", " cedo", " a tarde", " de tarde", " a noite", " de noite", " mesmo",
}

// abbreviations are other ways to write words.
var abbreviations = map[string]string{
	"hj": "hoje", "amn": "amanha", "amnh": "amanha", "prox": "proxima", "ult": "ultima", "meses": "mes",
	"2a": "segunda", "3a": "terca", "4a": "quarta", "5a": "quinta", "6a": "sexta",
	"2a-feira": "segunda", "3a-feira": "terca", "4a-feira": "quarta", "5a-feira": "quinta", "6a-feira": "sexta",
	"dias": "dia", "semanas": "semana", "anos": "ano", "daki": "daqui", "final": "fim", "comeco": "inicio",
}

// small are the numbers below thirty-two that are one word.
var small = map[string]int{
	"um": 1, "uma": 1, "dois": 2, "duas": 2, "tres": 3, "quatro": 4, "cinco": 5, "seis": 6, "sete": 7, "oito": 8, "nove": 9, "dez": 10,
	"onze": 11, "doze": 12, "treze": 13, "quatorze": 14, "catorze": 14, "quinze": 15, "dezesseis": 16, "dezasseis": 16, "dezessete": 17,
	"dezoito": 18, "dezenove": 19, "vinte": 20, "trinta": 30, "primeiro": 1,
}

// numbers writes the numbers from one to thirty-nine in digits.
func numbers(words []string) []string {
	out := words[:0]
	for i := 0; i < len(words); i++ {
		number, ok := small[words[i]]
		if !ok {
			out = append(out, ordinal(words[i]))
			continue
		}
		if number >= 20 && i+2 < len(words) && words[i+1] == "e" {
			if unit := small[words[i+2]]; unit >= 1 && unit <= 9 {
				number += unit
				i += 2
			}
		}
		out = append(out, strconv.Itoa(number))
	}
	return out
}

// ordinal takes the ending off "1o".
func ordinal(word string) string {
	for _, ending := range []string{"ro", "o"} {
		if digits, found := strings.CutSuffix(word, ending); found && isDigits(digits) {
			return digits
		}
	}
	return word
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func set(words ...string) map[string]bool {
	s := make(map[string]bool, len(words))
	for _, word := range words {
		s[word] = true
	}
	return s
}

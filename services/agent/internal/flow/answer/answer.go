// Package answer checks what a person answered to a question and brings it into one form: `as` of the agent definition.
package answer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what an answer must be. It is safe for concurrent use.
type Kind struct {
	name      string
	normalise func(text string, now time.Time) (string, bool)
}

// kinds are the kinds that have a name. `regex: …` is the one that needs more than that.
var kinds = map[string]Kind{
	"text":   {name: "text", normalise: text},
	"date":   {name: "date", normalise: date},
	"number": timeless("number", number),
	"email":  timeless("email", email),
	"phone":  timeless("phone", phone),
	"cpf":    timeless("cpf", cpf),
	"cnpj":   timeless("cnpj", cnpj),
}

// timeless is a kind that means the same at any time.
func timeless(name string, normalise func(string) (string, bool)) Kind {
	return Kind{name: name, normalise: func(s string, _ time.Time) (string, bool) { return normalise(s) }}
}

const regexPrefix = "regex:"

// The kinds of a question that does not say one.
const (
	Text = "text"
	Date = "date"
)

// ErrUnknownKind is the error of a name that is no kind.
var ErrUnknownKind = errors.New("must be text, number, date, email, phone, cpf, cnpj or regex: …")

// Parse gives the kind that `as` names. The error is ErrUnknownKind, or says what is wrong with the regular expression.
func Parse(as string) (Kind, error) {
	if kind, ok := kinds[as]; ok {
		return kind, nil
	}
	source, isRegex := strings.CutPrefix(as, regexPrefix)
	if !isRegex {
		return Kind{}, ErrUnknownKind
	}
	source = strings.TrimSpace(source)
	if source == "" {
		return Kind{}, errors.New("the regular expression is empty")
	}
	// Compiled alone first, so that the error shows what was written.
	if _, err := regexp.Compile(source); err != nil {
		return Kind{}, fmt.Errorf("compile regular expression: %w", err)
	}
	whole, err := regexp.Compile(`^(?:` + source + `)$`)
	if err != nil {
		return Kind{}, fmt.Errorf("compile regular expression: %w", err)
	}
	return Kind{name: "regex", normalise: func(s string, _ time.Time) (string, bool) { return s, whole.MatchString(s) }}, nil
}

// Normalise brings an answer into the form that is kept: without outer spaces, and as the kind has it. now is the time of the answer
// in the time zone in which "hoje" is meant. It reports false for an answer that is not of the kind, or empty.
func (k Kind) Normalise(answer string, now time.Time) (string, bool) {
	answer = strings.TrimSpace(answer)
	if answer == "" || !utf8.ValidString(answer) {
		return "", false
	}
	normal, ok := k.normalise(answer, now)
	if !ok {
		return "", false
	}
	return normal, true
}

func text(s string, _ time.Time) (string, bool) { return s, true }

package expr

import (
	"context"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	opening = "{{"
	closing = "}}"
)

// Template is a text with expressions in it. The zero value renders as nothing. It is safe for concurrent use.
type Template struct {
	literal string // the whole, when there is no expression
	parts   []part
}

// part is a piece of a template: a literal, an expression, or the name of a secret.
type part struct {
	literal string
	program *program
	secret  string
	at      int // where it begins, in characters from 1
}

// Template compiles a text. An expression begins at {{ and ends at the first }} that is neither inside a string of the expression nor
// closes a map of it. The error is Errors, with all faults of the text.
func (c *Compiler) Template(source string) (Template, error) { return c.template(source, false) }

// SecretTemplate compiles a text in which {{ secret.name }} stands for a secret. Its value is no expression's to see: RenderPieces gives
// its name, and Render nothing.
func (c *Compiler) SecretTemplate(source string) (Template, error) { return c.template(source, true) }

// secretName is an expression that names a secret.
var secretName = regexp.MustCompile(`^\s*secret\.([A-Za-z_][A-Za-z0-9_]{0,63})\s*$`)

func (c *Compiler) template(source string, secrets bool) (Template, error) {
	if !strings.Contains(source, opening) {
		return Template{literal: storable(source)}, nil
	}
	var (
		t    Template
		errs Errors
		rest = source
	)
	for {
		before, after, found := strings.Cut(rest, opening)
		if before != "" {
			begin := utf8.RuneCountInString(source[:len(source)-len(rest)]) + 1
			t.parts = append(t.parts, part{literal: storable(before), at: begin})
		}
		if !found {
			break
		}
		at := utf8.RuneCountInString(source[:len(source)-len(after)])
		end := expressionEnd(after)
		if end < 0 {
			errs = append(errs, Error{Position: at - len(opening) + 1, Reason: "{{ without its }}"})
			break
		}
		one := part{at: at - len(opening) + 1}
		if named := secretName.FindStringSubmatch(after[:end]); secrets && named != nil {
			one.secret = named[1]
		} else {
			var faults Errors
			one.program, faults = c.expression(after[:end])
			for _, fault := range faults {
				errs = append(errs, Error{Position: at + fault.Position, Reason: fault.Reason})
			}
		}
		t.parts = append(t.parts, one)
		rest = after[end+len(closing):]
	}
	if len(errs) > 0 {
		return Template{}, errs
	}
	return t, nil
}

// Static reports whether the template has no expression, and gives its text then.
func (t *Template) Static() (string, bool) { return t.literal, len(t.parts) == 0 }

// Render gives the text. An expression that fails, or whose value is missing, is left out.
func (t *Template) Render(ctx context.Context, scope *Scope) string {
	if len(t.parts) == 0 {
		return t.literal
	}
	if len(t.parts) == 1 {
		return t.parts[0].render(ctx, scope)
	}
	var out strings.Builder
	for i := range t.parts {
		out.WriteString(t.parts[i].render(ctx, scope))
	}
	return out.String()
}

func (p *part) render(ctx context.Context, scope *Scope) string {
	if p.program == nil {
		return p.literal // of a secret it is empty
	}
	value, err := scope.evaluate(ctx, p.program)
	if err != nil {
		return ""
	}
	return scope.written(storable(text(value)))
}

// written counts a text that an evaluation gave: evaluating a list of long texts costs little, writing it down does not.
func (s *Scope) written(text string) string {
	s.spent += uint64(len(text)) / charactersPerCost
	return text
}

// expressionEnd gives the offset of the }} that ends the expression at the beginning of s, -1 if there is none. It knows CEL's strings
// (with escapes, raw, and in triple quotes) and counts braces; it need not know more, because the parser sees what is between.
func expressionEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '\'', '"':
			end := stringEnd(s, i)
			if end < 0 {
				return -1
			}
			i = end
			continue
		case '{':
			depth++
		case '}':
			if depth == 0 {
				if strings.HasPrefix(s[i:], closing) {
					return i
				}
			} else {
				depth--
			}
		}
		i++
	}
	return -1
}

// stringEnd gives the offset after the string whose quote is at s[start], -1 if it does not end.
func stringEnd(s string, start int) int {
	quote := s[start : start+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s[start:], triple) {
		quote = triple
	}
	raw := start > 0 && (s[start-1] == 'r' || s[start-1] == 'R')
	for i := start + len(quote); i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], quote):
			return i + len(quote)
		case s[i] == '\\' && !raw:
			i += 2
		default:
			i++
		}
	}
	return -1
}

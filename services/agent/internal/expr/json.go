package expr

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// RenderJSON gives the text of a template that is JSON. An expression inside a string is a part of that string, and one outside is a
// value of its own, null if there is none: whatever the values are, they cannot end what they stand in.
func (t *Template) RenderJSON(ctx context.Context, scope *Scope) string {
	return t.json(func(p *part, quoted bool) string { return p.renderJSON(ctx, scope, quoted) })
}

// SampleJSON gives the text with a sample in place of each expression: inner inside strings, and null outside.
func (t *Template) SampleJSON(inner string) string {
	return t.json(func(_ *part, quoted bool) string {
		if quoted {
			return inner
		}
		return "null"
	})
}

func (t *Template) json(expression func(p *part, quoted bool) string) string {
	if len(t.parts) == 0 {
		return t.literal
	}
	var out strings.Builder
	var at jsonPlace
	for i := range t.parts {
		p := &t.parts[i]
		if p.program == nil {
			out.WriteString(p.literal)
			at.pass(p.literal)
		} else {
			out.WriteString(expression(p, at.quoted))
		}
	}
	return out.String()
}

// jsonPlace is a place in a text of JSON.
type jsonPlace struct{ quoted, escaped bool }

// pass goes on behind a text.
func (j *jsonPlace) pass(text string) {
	for i := range len(text) {
		switch c := text[i]; {
		case j.escaped:
			j.escaped = false
		case c == '"':
			j.quoted = !j.quoted
		case c == '\\':
			j.escaped = j.quoted
		}
	}
}

func (p *part) renderJSON(ctx context.Context, scope *Scope, quoted bool) string {
	value, err := scope.evaluate(ctx, p.program)
	switch {
	case quoted && err != nil:
		return ""
	case quoted:
		whole := jsonString(storable(text(value)))
		return scope.written(whole[1 : len(whole)-1])
	case err != nil:
		return "null"
	default:
		return scope.written(jsonValueOf(value))
	}
}

// jsonValueOf writes a value as JSON: what JSON has no type for as its text, and what has no text as null.
func jsonValueOf(value ref.Val) string {
	switch value.(type) {
	case types.Null:
		return "null"
	case types.String, types.Bytes, types.Timestamp, types.Duration:
		return jsonString(storable(text(value)))
	default:
		if written := storable(text(value)); written != "" { // a number, a truth value, a list or a map is JSON as it is
			return written
		}
		return "null"
	}
}

func jsonString(s string) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return `""` // no text fails to encode
	}
	return strings.TrimSuffix(out.String(), "\n")
}

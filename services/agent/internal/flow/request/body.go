package request

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/prosa-chat/prosa/services/agent/internal/expr"
)

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
	textType = "text/plain"
	// unread stands for a media type that cannot be read: that is said of the header, and nothing of the body.
	unread = "?"
)

// body is a compiled body.
type body struct {
	template expr.Template
	write    func(ctx context.Context, scope *expr.Scope, t *expr.Template) string
}

// marker stands for an expression in a sample; no JSON has meaning with it outside of a text.
const marker = "\uE000"

// compileBody makes a body that is of a media type, of JSON if it is "".
func compileBody(exprs *expr.Compiler, method, source, kind string) (body, error) {
	if source == "" {
		return body{}, nil
	}
	if method == defaultMethod {
		return body{}, at(1, "a GET has no body")
	}
	template, err := exprs.Template(source)
	if err != nil {
		return body{}, err
	}
	_, constant := template.Static()
	switch {
	case kind == unread:
		return body{}, nil
	case kind == "" || kind == jsonType || strings.HasSuffix(kind, "+json"):
		return body{template, renderJSON}, checkJSON(&template)
	case kind == formType:
		return body{template, renderForm}, checkForm(template.Pieces())
	case kind == textType || constant:
		return body{template, renderText}, nil
	default:
		return body{}, at(1, "a body with expressions is "+jsonType+", "+formType+" or "+textType)
	}
}

// checkJSON checks that the body is JSON, whatever the values are, and that no value can be the name of a field.
func checkJSON(template *expr.Template) error {
	sample := template.SampleJSON(marker)
	if !json.Valid([]byte(sample)) {
		return at(1, "is not JSON; if it is something else, the header Content-Type must say what")
	}
	decoder := json.NewDecoder(strings.NewReader(sample))
	var inObject []bool
	isName := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return at(1, err.Error())
		}
		name := isName
		switch delim, _ := token.(json.Delim); delim {
		case '{', '[':
			inObject = append(inObject, delim == '{')
			isName = delim == '{'
			continue
		case '}', ']':
			inObject = inObject[:len(inObject)-1]
			isName = len(inObject) > 0 && inObject[len(inObject)-1]
			continue
		}
		if text, ok := token.(string); ok && name && strings.Contains(text, marker) {
			return at(1, "an expression cannot be a part of a field's name")
		}
		isName = len(inObject) > 0 && inObject[len(inObject)-1] && !name
	}
}

// checkForm checks that expressions stand in the place of values only.
func checkForm(pieces []expr.Piece) error {
	place := fieldPlace{}
	for i, piece := range pieces {
		if !piece.Expression {
			place.pass(piece.Text)
			continue
		}
		if err := place.take(pieces, i); err != nil {
			return err
		}
	}
	return nil
}

// render gives the body, "" if there is none.
func (b *body) render(ctx context.Context, scope *expr.Scope) (string, error) {
	if b.write == nil {
		return "", nil
	}
	made := b.write(ctx, scope, &b.template)
	if len(made) > maxBody {
		return "", ErrBody
	}
	return made, nil
}

func renderJSON(ctx context.Context, scope *expr.Scope, t *expr.Template) string {
	return t.RenderJSON(ctx, scope)
}

func renderText(ctx context.Context, scope *expr.Scope, t *expr.Template) string {
	return t.Render(ctx, scope)
}

func renderForm(ctx context.Context, scope *expr.Scope, t *expr.Template) string {
	var out strings.Builder
	for _, piece := range t.RenderPieces(ctx, scope) {
		if piece.Expression {
			piece.Text = escape(piece.Text)
		}
		out.WriteString(piece.Text)
	}
	return out.String()
}

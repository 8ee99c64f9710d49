// Package request makes requests to other systems out of templates, so that what a value says can be nothing but a value: whatever a
// person types, it changes neither the host nor the path that is called, and adds neither parameters, fields nor headers.
package request

import (
	"context"
	"errors"
	"time"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
)

// DefaultTimeout bounds an exchange of which the definition says nothing.
const DefaultTimeout = 10 * time.Second

const (
	defaultMethod = "GET"
	// maxHeader is how many bytes the headers of a request may have together.
	maxHeader = 16 << 10
	// maxBody is how many bytes a body may have.
	maxBody = 256 << 10
)

// Why no request can be made of the values that there are. None of these says what the values are.
var (
	ErrURL       = errors.New("a part of the path is empty, or leads to another one")
	ErrURLLength = errors.New("the URL is too long")
	ErrHeader    = errors.New("a header cannot be sent")
	ErrBody      = errors.New("the body is too large")
	ErrCost      = errors.New("the expressions cost too much")
)

// Fault is something that is wrong with a call.
type Fault struct {
	// Field is `url`, `headers` or `body`. Key is the header's name.
	Field, Key string
	// Err says what is wrong.
	Err error
}

// Template is a compiled call. It is safe for concurrent use.
type Template struct {
	method  string
	url     expr.Template
	headers []header
	body    body
	timeout time.Duration
}

// Request is a request to be sent.
type Request struct {
	Method, URL string
	// Headers are in the order of their names.
	Headers []Header
	// Body is what is sent, nothing if it is empty.
	Body string
	// Timeout bounds the whole exchange.
	Timeout time.Duration
}

// Compile makes a template of a call. The faults are all that is wrong with it.
func Compile(exprs *expr.Compiler, def *agentv1.Call) (*Template, []Fault) {
	t := &Template{method: def.GetMethod(), timeout: def.GetTimeout().AsDuration()}
	if t.method == "" {
		t.method = defaultMethod
	}
	if t.timeout <= 0 {
		t.timeout = DefaultTimeout
	}
	var faults []Fault
	fault := func(field, key string, err error) {
		if err != nil {
			faults = append(faults, Fault{Field: field, Key: key, Err: err})
		}
	}
	var err error
	t.url, err = compileURL(exprs, def.GetUrl())
	fault("url", "", err)
	var kind string
	t.headers, kind = compileHeaders(exprs, def.GetHeaders(), fault)
	t.body, err = compileBody(exprs, t.method, def.GetBody(), kind)
	fault("body", "", err)
	if def.GetBody() != "" && kind == "" {
		t.headers = append(t.headers, header{name: contentTypeName, value: static(exprs, jsonType)})
	}
	return t, faults
}

// static makes a template of a text without expressions.
func static(exprs *expr.Compiler, text string) expr.Template {
	made, _ := exprs.Template(text) // there is nothing in it that could be wrong
	return made
}

// Render makes the request with the values of scope. The error is one of those above, or that of the context.
func (t *Template) Render(ctx context.Context, scope *expr.Scope) (*Request, error) {
	r := &Request{Method: t.method, Timeout: t.timeout}
	var err error
	if r.URL, err = renderURL(t.url.RenderPieces(ctx, scope)); err != nil {
		return nil, err
	}
	if r.Headers, err = renderHeaders(ctx, scope, t.headers); err != nil {
		return nil, err
	}
	if r.Body, err = t.body.render(ctx, scope); err != nil {
		return nil, err
	}
	// Values that were left out because of either would make it another request.
	if scope.Exhausted() {
		return nil, ErrCost
	}
	return r, ctx.Err()
}

// at makes an error of a template: what is wrong, and where.
func at(position int, reason string) error {
	return expr.Errors{{Position: position, Reason: reason}}
}

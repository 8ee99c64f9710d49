// Package requestid carries the name of a request from hop to hop, so that the lines which several services log about it can be
// found together. A caller gets it back with every answer.
package requestid

import "context"

// Header is the metadata, and the HTTP header, in which it travels.
const Header = "x-request-id"

// maxLength bounds what is taken over from a caller.
const maxLength = 64

type contextKey struct{}

// With returns a context that carries the request id.
func With(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// FromContext is the request id, empty when the context has none.
func FromContext(ctx context.Context) string {
	id, _ := ctx.Value(contextKey{}).(string)
	return id
}

// Valid reports whether a caller's id may be taken over: 1 to 64 characters of A-Z, a-z, 0-9, dot, underscore and hyphen. All
// else could break a log line or a header, or carry what does not belong into the log.
func Valid(id string) bool {
	if id == "" || len(id) > maxLength {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
)

// levelOf is the level of a failed request in the log. Overload, slowness (which a caller may have asked for, with
// Grpc-Timeout) and going away are the operator's weather, not faults.
func levelOf(status int) slog.Level {
	if status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout {
		return slog.LevelWarn
	}
	return slog.LevelError
}

// attributes describe the call in the log: by its route, never by its path, which may name a person.
func (c *call) attributes(status int, r *refusal) []slog.Attr {
	attributes := []slog.Attr{
		slog.String("request_id", c.requestID),
		slog.String("surface", c.surface.String()),
		slog.String("method", c.request.Method),
		slog.Int("status", status),
	}
	if c.binding != nil {
		attributes = append(attributes, slog.String("route", c.binding.pattern))
	}
	if r != nil && r.cause != nil {
		attributes = append(attributes, slog.String("error", r.cause.Error()))
	}
	return attributes
}

// panicAttributes describe a panic. Only its type and an error's or a string's text are told: a value of another type may hold a
// request.
func panicAttributes(cause any, stack []byte) []slog.Attr {
	text := fmt.Sprintf("%T", cause)
	switch known := cause.(type) {
	case error:
		text = known.Error()
	case string:
		text = known
	}
	return []slog.Attr{slog.String("panic", text), slog.String("stack", string(stack))}
}

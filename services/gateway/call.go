package gateway

import (
	"context"
	"net/http"

	"google.golang.org/protobuf/proto"
)

// call is one HTTP request on its way through the gateway. It belongs to the goroutine that serves the request.
type call struct {
	writer    recorder
	request   *http.Request // as it came
	surface   surface
	path      string // escaped
	requestID string
	shed      bool // turned away because too many others were there

	// Known once a route was found.
	binding *binding
	message proto.Message // the request of the RPC
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// recorder is the http.ResponseWriter of a call; it remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the answer began
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach what the server gave.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

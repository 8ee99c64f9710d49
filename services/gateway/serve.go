package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"
)

// The values of header fields that every answer has. net/http copies them and nothing here adds to them.
var nosniff, noStore = []string{"nosniff"}, []string{"no-store"}

// serve answers one request.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	start := g.clock.Now()
	c := &call{writer: recorder{ResponseWriter: w}, request: r, path: r.URL.EscapedPath()}
	c.surface = surfaceOf(c.path)
	c.requestID = requestIDOf(r.Header, g.ids)
	header := w.Header()
	header[headerRequestID] = []string{c.requestID}
	header["X-Content-Type-Options"] = nosniff
	header["Cache-Control"] = noStore

	ctx, end := g.startSpan(c)
	defer func() {
		cut := g.recovered(ctx, c, recover())
		end(c)
		g.metrics.observe(c.surface, c.writer.status, g.clock.Now().Sub(start))
		if cut {
			panic(http.ErrAbortHandler)
		}
	}()
	g.dispatch(ctx, c)
}

// dispatch checks what concerns every request, whatever its route, and hands it on.
func (g *Gateway) dispatch(ctx context.Context, c *call) {
	r := c.request
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	switch {
	case len(target) > MaxURL:
		g.refuse(ctx, c, refuse(http.StatusRequestURITooLong))
		return
	case headerSize(r.Header) > MaxHeader:
		g.refuse(ctx, c, refuse(http.StatusRequestHeaderFieldsTooLarge))
		return
	}
	if page, ok := g.pages[c.path]; ok {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			g.refuse(ctx, c, &refusal{status: http.StatusMethodNotAllowed, allow: "GET, HEAD"})
			return
		}
		page.ServeHTTP(&c.writer, r)
		return
	}
	if g.refusing.Load() {
		c.writer.Header().Set("Connection", "close")
		g.refuse(ctx, c, &refusal{status: http.StatusServiceUnavailable, reason: reasonUnavailable})
		return
	}
	gate, ok := g.admit(r.Context(), c)
	if !ok {
		return
	}
	if gate != nil {
		defer gate.Leave()
	}

	ctx, cancel := context.WithTimeout(ctx, g.timeoutOf(c))
	defer cancel()
	// grpc-gateway gets to see the method, the path, and the header fields that are forwarded: what it is not shown it cannot
	// pass on, be talked into by (X-HTTP-Method-Override, Grpc-Metadata-*), or read before it is checked.
	inner := (&http.Request{
		Method:     r.Method,
		URL:        &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath},
		Proto:      r.Proto,
		ProtoMajor: r.ProtoMajor,
		ProtoMinor: r.ProtoMinor,
		Header:     forwardHeader(r.Header, c.requestID),
		Body:       http.NoBody,
		RemoteAddr: g.caller(r), // told to the services as x-forwarded-for; what the caller says under that name is not
	}).WithContext(withCall(ctx, c))
	g.injectSpan(ctx, inner.Header)
	if streamed := g.chatCallOf(c); streamed != nil {
		g.streamChat(c, streamed, inner)
		return
	}
	g.mux.ServeHTTP(&c.writer, inner)
}

// timeoutOf is how long a call may take. Accepting a message is not cut short by what its caller asks for: the deadline could pass
// while the message is being stored, and an answer of 5xx is not to mean that it is.
func (g *Gateway) timeoutOf(c *call) time.Duration {
	switch c.surface {
	case surfaceAPIChannel:
		return g.timeout
	case surfaceBotAPI:
		return g.botTimeout
	case surfaceConversation:
		return timeoutOf(c.request.Header, g.chatTimeoutOf(c.path))
	}
	return timeoutOf(c.request.Header, g.timeout)
}

// refuse answers a failure in the form of the call's surface.
func (g *Gateway) refuse(ctx context.Context, c *call, r *refusal) {
	if c.writer.status != 0 {
		return // The answer has begun; there is no taking it back.
	}
	// The answer is written even when the caller seems gone: it may have closed its side only, and what net/http sends for a
	// handler that writes nothing is 200.
	gone := c.request.Context().Err() != nil
	made := c.surface.shape(r, place{path: c.path, requestID: c.requestID})
	header := c.writer.Header()
	header.Set("Content-Type", made.contentType)
	header.Set("Content-Length", strconv.Itoa(len(made.body)))
	switch made.status {
	case http.StatusMethodNotAllowed:
		header.Set("Allow", r.allow)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.FormatInt(r.retrySeconds(), 10))
	case http.StatusUnauthorized:
		if c.surface != surfaceContacts && c.surface != surfaceEvents {
			header.Set("WWW-Authenticate", "Bearer")
		}
	}
	c.writer.WriteHeader(made.status)
	// The caller may be gone; there is nobody to tell.
	_, _ = c.writer.Write(made.body)
	if gone {
		c.writer.status = statusCallerGone
		return
	}
	if made.status >= http.StatusInternalServerError && !c.shed { // of those there are too many to write down, and a counter
		g.logger.LogAttrs(ctx, levelOf(made.status), "request failed", c.attributes(made.status, r)...)
	}
}

// statusCallerGone is what a call is counted as whose caller went away; proxies use it for that. It is never sent.
const statusCallerGone = 499

// recovered answers after a panic, if there was one. It reports that the connection must be cut: an answer that has begun must not
// look complete.
func (g *Gateway) recovered(ctx context.Context, c *call, cause any) (cut bool) {
	switch cause {
	case nil:
		return false
	case http.ErrAbortHandler:
		return true
	}
	g.logger.LogAttrs(ctx, slog.LevelError, "request panicked", append(c.attributes(http.StatusInternalServerError, nil),
		panicAttributes(cause, debug.Stack())...)...)
	if c.writer.status != 0 {
		return true
	}
	g.refuse(ctx, c, &refusal{status: http.StatusInternalServerError, reason: reasonInternal})
	return false
}

// Package grpcserver serves Prosa's RPCs, over the network and within the process, behind one chain of interceptors that is the
// same for both.
package grpcserver

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
)

// ChainDeps is what the interceptors work with.
type ChainDeps struct {
	// Logger gets the access log and the causes of internal errors. Required.
	Logger *slog.Logger
	// Clock times calls and limits. Required.
	Clock clock.Clock
	// IDs names the requests whose callers did not. Required.
	IDs *id.Source
	// Metrics takes the RPC metrics. Nil: none are kept.
	Metrics prometheus.Registerer
	// Tracer makes the spans. Nil or the no-op provider: none are made, a caller's trace is still handed on.
	Tracer trace.TracerProvider
	// Verifier says whose a key is. Required.
	Verifier auth.Verifier
	// Quotas are the limits of API keys. The zero value limits nothing.
	Quotas Quotas
}

// Chain is the ordered list of what happens to every call before its handler.
type Chain struct {
	deps         ChainDeps
	observer     *observation
	interceptors []interceptor
}

// interceptor is one link of the chain in both its forms.
type interceptor struct {
	name   string
	unary  grpc.UnaryServerInterceptor
	stream grpc.StreamServerInterceptor
}

// trust says that the transport of a call vouches for its caller as one of Prosa's services.
type trust func(ctx context.Context) bool

// NewChain returns the chain. Its order is the contract of every service: whatever refuses a call, the caller gets a status that
// is documented, a request id, and the operator a metric and a line.
func NewChain(deps ChainDeps) Chain {
	logs := newSampledLog(deps.Logger, deps.Clock)
	return Chain{deps: deps, observer: observer(deps.Clock, deps.Tracer, deps.Metrics), interceptors: []interceptor{
		recoverer(logs),
		requestID(deps.IDs),
		{name: nameTelemetry}, // depends on the transport: see trusting
		accessLog(logs, deps.Clock),
		errorMasking(logs),
		{name: nameAuthentication}, // so does this
		rateLimit(deps.Quotas, newDoors(deps.Clock, deps.Metrics)),
		validation(),
	}}
}

// Names are the links of the chain, outermost first.
func (c Chain) Names() []string {
	names := make([]string, len(c.interceptors))
	for i, link := range c.interceptors {
		names[i] = link.name
	}
	return names
}

// Unary are the links for unary calls, outermost first, for a server on a network that trusts verified client certificates only.
func (c Chain) Unary() []grpc.UnaryServerInterceptor {
	links := c.trusting(certified)
	unary := make([]grpc.UnaryServerInterceptor, len(links))
	for i, link := range links {
		unary[i] = link.unary
	}
	return unary
}

// Stream are the links for streams, outermost first, for a server on a network that trusts verified client certificates only.
func (c Chain) Stream() []grpc.StreamServerInterceptor {
	links := c.trusting(certified)
	stream := make([]grpc.StreamServerInterceptor, len(links))
	for i, link := range links {
		stream[i] = link.stream
	}
	return stream
}

// trusting are the links for a transport that vouches for its callers as t says.
func (c Chain) trusting(t trust) []interceptor {
	links := make([]interceptor, len(c.interceptors))
	for i, link := range c.interceptors {
		switch link.name {
		case nameTelemetry:
			link = c.observer.link(t)
		case nameAuthentication:
			link = authentication(c.deps.Verifier, t)
		}
		links[i] = link
	}
	return links
}

// chainUnary makes one interceptor of the links.
func chainUnary(links []interceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		p := &passage{links: links, info: info, handler: handler}
		p.onward = p.next
		return p.next(ctx, request)
	}
}

// passage is one call's way through the links. A closure for each link would say the same, and be most of what the chain
// allocates. One goroutine walks it.
type passage struct {
	links   []interceptor // those that are still ahead
	info    *grpc.UnaryServerInfo
	handler grpc.UnaryHandler
	onward  grpc.UnaryHandler // next, made once
}

func (p *passage) next(ctx context.Context, request any) (any, error) {
	if len(p.links) == 0 {
		return p.handler(ctx, request)
	}
	ahead := p.links
	p.links = ahead[1:]
	response, err := ahead[0].unary(ctx, request, p.info, p.onward)
	p.links = ahead
	return response, err
}

// chainStream makes one interceptor of the links.
func chainStream(links []interceptor) grpc.StreamServerInterceptor {
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		for i := len(links) - 1; i >= 0; i-- {
			link, next := links[i].stream, handler
			handler = func(server any, stream grpc.ServerStream) error { return link(server, stream, info, next) }
		}
		return handler(server, stream)
	}
}

package grpcclient

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/prosa-chat/prosa/services/internal/requestid"
)

// PropagateUnary sends the request id and the trace of the call that the caller is serving along with a call that it makes.
// Nothing else of an incoming call goes further: no key, no token.
func PropagateUnary(ctx context.Context, method string, request, response any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(propagate(ctx), method, request, response, conn, opts...)
}

// PropagateStream is PropagateUnary for streams.
func PropagateStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(propagate(ctx), desc, conn, method, opts...)
}

func propagate(ctx context.Context) context.Context {
	id := requestid.FromContext(ctx)
	traced := trace.SpanContextFromContext(ctx).IsValid()
	if id == "" && !traced {
		return ctx
	}
	sent, _ := metadata.FromOutgoingContext(ctx)
	var pairs outgoing
	if id != "" && len(sent.Get(requestid.Header)) == 0 {
		pairs = append(pairs, requestid.Header, id)
	}
	if traced && len(sent.Get("traceparent")) == 0 {
		propagation.TraceContext{}.Inject(ctx, &pairs)
	}
	if len(pairs) == 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// outgoing collects what the propagator writes, as names and values in turn.
type outgoing []string

func (o *outgoing) Get(string) string { return "" }

func (o *outgoing) Set(name, value string) { *o = append(*o, name, value) }

func (o *outgoing) Keys() []string { return nil }

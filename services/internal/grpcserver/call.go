package grpcserver

import (
	"context"

	"google.golang.org/grpc"

	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/requestid"
)

// call is what the outer links of the chain want to know of what the inner ones found out. One goroutine works on it: that of the
// call.
type call struct {
	// principal is who calls, once that is known.
	principal auth.Principal
	// identified says that the principal is known.
	identified bool
}

type callKey struct{}

func withCall(ctx context.Context) context.Context {
	return context.WithValue(ctx, callKey{}, &call{})
}

// callOf is the record of the call; one that nobody reads when the chain is not whole, as in a test of a single link.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// RequestID is the id of the call that ctx belongs to, which the caller gets as the header x-request-id and the log has in each
// line about the call. Empty outside a call.
func RequestID(ctx context.Context) string { return requestid.FromContext(ctx) }

// contextStream is a stream with another context.
type contextStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *contextStream) Context() context.Context { return s.ctx }

func withContext(ctx context.Context, stream grpc.ServerStream) grpc.ServerStream {
	return &contextStream{ServerStream: stream, ctx: ctx}
}

// receivingStream looks at each message that comes in before the handler gets it.
type receivingStream struct {
	grpc.ServerStream
	check func(message any) error
}

func (s *receivingStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	return s.check(message)
}

// infrastructure are the methods that are not Prosa's: they carry no access option, prove no right, and give nothing away that
// the contract does not. Their streams last as long as the caller likes.
var infrastructure = map[string]bool{
	"/grpc.health.v1.Health/Check":                                   true,
	"/grpc.health.v1.Health/List":                                    true,
	"/grpc.health.v1.Health/Watch":                                   true,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      true,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": true,
}

package grpcserver

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"

	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const nameRecover = "recover"

// recoverer keeps a panic in the other links from ending the process. A panic in a handler is caught further in, by error
// masking, so that metrics and access log see the call; this one is for the links themselves.
func recoverer(logs *sampledLog) interceptor {
	return interceptor{
		name: nameRecover,
		unary: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
			defer func() {
				if value := recover(); value != nil {
					response, err = nil, recovered(ctx, logs, info.FullMethod, value)
				}
			}()
			return handler(ctx, request)
		},
		stream: func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
			defer func() {
				if value := recover(); value != nil {
					err = recovered(stream.Context(), logs, info.FullMethod, value)
				}
			}()
			return handler(server, stream)
		},
	}
}

func recovered(ctx context.Context, logs *sampledLog, method string, value any) error {
	failure := newPanicError(value)
	logs.log(ctx, slog.LevelError, "interceptor panicked", slog.String("method", shortMethod(method)),
		slog.String("error", failure.Error()), slog.String("stack", string(failure.stack)))
	return rpcerr.Internal(nil).GRPCStatus().Err()
}

// panicError is a panic as an error. It is made where the panic is caught, for the stack to be the panic's.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(value any) *panicError { return &panicError{value: value, stack: debug.Stack()} }

// Error is the text of an error, which the log would show if it had been returned, and of anything else only the kind: what a
// handler panics with may be a person's data.
func (p *panicError) Error() string {
	if err, ok := p.value.(error); ok {
		return "panic: " + err.Error()
	}
	return fmt.Sprintf("panic with a %T", p.value)
}

package grpcserver

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/requestid"
)

const nameRequestID = "request-id"

const (
	// unaryTimeout is how long a unary call may take whose caller does not say.
	unaryTimeout = 30 * time.Second
	// streamTimeout is how long a stream may last whose caller does not say.
	streamTimeout = 5 * time.Minute
	// maxTimeout is the longest that a caller may ask for ("Grpc-Timeout: 99999H").
	maxTimeout = 5 * time.Minute
)

// requestID gives each call what it is known by and how long it has: the caller's x-request-id, if it is harmless, or a new one,
// sent back as a header; and a deadline, of which the caller's own is kept if it is not absurd. The deadline has no link of its
// own because both are the call's frame, which everything further in, the log of a late call included, relies upon.
func requestID(ids *id.Source) interceptor {
	return interceptor{
		name: nameRequestID,
		unary: func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			name := chooseRequestID(ctx, ids)
			// The header is a courtesy: a transport that cannot take it any more is no reason to refuse the call.
			_ = grpc.SetHeader(ctx, metadata.MD{requestid.Header: {name}})
			ctx, cancel := withDeadline(withCall(requestid.With(ctx, name)), unaryTimeout)
			defer cancel()
			return handler(ctx, request)
		},
		stream: func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			name := chooseRequestID(stream.Context(), ids)
			_ = stream.SetHeader(metadata.MD{requestid.Header: {name}})
			ctx := withCall(requestid.With(stream.Context(), name))
			if !infrastructure[info.FullMethod] {
				var cancel context.CancelFunc
				ctx, cancel = withDeadline(ctx, streamTimeout)
				defer cancel()
			}
			return handler(server, withContext(ctx, stream))
		},
	}
}

func chooseRequestID(ctx context.Context, ids *id.Source) string {
	if values := metadata.ValueFromIncomingContext(ctx, requestid.Header); len(values) == 1 && requestid.Valid(values[0]) {
		return values[0]
	}
	return ids.New()
}

// withDeadline gives ctx a deadline of d from now if it has none, and of maxTimeout if it has a later one. Deadlines run on the
// machine's time, as those of the context package do.
func withDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	switch {
	case !ok:
		return context.WithTimeout(ctx, d)
	case time.Until(deadline) > maxTimeout: //nolint:forbidigo // see above
		return context.WithTimeout(ctx, maxTimeout)
	default:
		return ctx, func() {}
	}
}

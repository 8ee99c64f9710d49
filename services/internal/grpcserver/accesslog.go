package grpcserver

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const nameAccessLog = "access-log"

// accessLog writes one line a call, of what the frame of a call says and never of what its messages hold. Calls that went well
// are debug lines, calls that the caller got wrong are info, those that may be tried again are warnings and those that nobody
// expected are errors.
func accessLog(logs *sampledLog, c clock.Clock) interceptor {
	return interceptor{
		name: nameAccessLog,
		unary: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			began := c.Now()
			err := errPanicked
			defer func() { writeAccess(ctx, logs, info.FullMethod, err, c.Now().Sub(began)) }()
			var response any
			response, err = handler(ctx, request)
			return response, err
		},
		stream: func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			began := c.Now()
			err := errPanicked
			defer func() { writeAccess(stream.Context(), logs, info.FullMethod, err, c.Now().Sub(began)) }()
			err = handler(server, stream)
			return err
		},
	}
}

func writeAccess(ctx context.Context, logs *sampledLog, fullMethod string, err error, took time.Duration) {
	code := status.Code(err)
	level := accessLevel(code)
	if infrastructure[fullMethod] && level == slog.LevelInfo {
		level = slog.LevelDebug // every watch of health ends by being cancelled
	}
	if !logs.enabled(ctx, level) {
		return
	}
	call := callOf(ctx)
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.String("method", shortMethod(fullMethod)),
		slog.String("code", code.String()),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("caller", callerKind(call)),
	)
	if call.principal.Instance != "" {
		attrs = append(attrs, slog.String("instance", call.principal.Instance))
	}
	if call.principal.KeyID != "" {
		attrs = append(attrs, slog.String("key_id", call.principal.KeyID))
	}
	if reason := rpcerr.Reason(err); reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		attrs = append(attrs, slog.String("trace_id", span.TraceID().String()))
	}
	logs.log(ctx, level, "rpc", attrs...)
}

func accessLevel(code codes.Code) slog.Level {
	switch code {
	case codes.OK:
		return slog.LevelDebug
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return slog.LevelError
	case codes.Unavailable, codes.DeadlineExceeded:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// callerKind is who calls, in a word.
func callerKind(c *call) string {
	switch p := c.principal; {
	case !c.identified:
		return "unknown"
	case p.Internal:
		return "internal"
	case p.Root:
		return "root"
	case p.KeyID != "":
		return "key"
	case p.Instance == "" && len(p.Scopes) == 0:
		return "open"
	default:
		return "key"
	}
}

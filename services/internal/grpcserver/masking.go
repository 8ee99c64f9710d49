package grpcserver

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const nameErrorMasking = "error-masking"

// metadataRequestID is the name in google.rpc.ErrorInfo under which a caller finds what to tell the operator.
const metadataRequestID = "request_id"

// errorMasking lets out what rpcerr made and nothing else. What a driver, a library or another service said goes to the log under
// the request id; the caller gets a neutral sentence and that id. A panic in the handler is an internal error like any other,
// its stack in the log.
func errorMasking(logs *sampledLog) interceptor {
	return interceptor{
		name: nameErrorMasking,
		unary: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
			defer func() {
				if value := recover(); value != nil {
					response, err = nil, mask(ctx, logs, info.FullMethod, rpcerr.Internal(newPanicError(value)))
				}
			}()
			response, err = handler(ctx, request)
			if err != nil {
				return nil, mask(ctx, logs, info.FullMethod, err)
			}
			return response, nil
		},
		stream: func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
			ctx := stream.Context()
			defer func() {
				if value := recover(); value != nil {
					err = mask(ctx, logs, info.FullMethod, rpcerr.Internal(newPanicError(value)))
				}
			}()
			if infrastructure[info.FullMethod] {
				return handler(server, stream) // theirs are the statuses of their own protocols
			}
			if err := handler(server, readingStream{stream}); err != nil {
				return mask(ctx, logs, info.FullMethod, err)
			}
			return nil
		},
	}
}

// mask is the status that leaves the process.
func mask(ctx context.Context, logs *sampledLog, fullMethod string, err error) error {
	var known *rpcerr.Error
	if !errors.As(err, &known) {
		if infrastructure[fullMethod] {
			return err
		}
		known = classify(err)
	}
	switch known.Code() {
	case codes.OK:
		// An error that says that all is well is a mistake in a handler.
		known = rpcerr.Internal(err)
		fallthrough
	case codes.Internal, codes.Unknown, codes.DataLoss:
		logCause(ctx, logs, slog.LevelError, fullMethod, known)
		known = rpcerr.Internal(nil).WithMetadata(metadataRequestID, RequestID(ctx))
	case codes.Unavailable, codes.DeadlineExceeded:
		if known.Unwrap() != nil {
			logCause(ctx, logs, slog.LevelWarn, fullMethod, known)
		}
		known = known.WithMetadata(metadataRequestID, RequestID(ctx))
	}
	return known.GRPCStatus().Err()
}

// classify makes something that may leave of an error that is not ours. What another service answered, and the handler did not
// relay on purpose, is no concern of the caller beyond whether to try again.
func classify(err error) *rpcerr.Error {
	var carrier interface{ GRPCStatus() *status.Status }
	if errors.As(err, &carrier) {
		switch st := carrier.GRPCStatus(); st.Code() {
		case codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
			return rpcerr.Unavailable(err)
		case codes.DeadlineExceeded:
			return fromContext(context.DeadlineExceeded, err)
		case codes.Canceled:
			return fromContext(context.Canceled, err)
		case codes.Unimplemented:
			// What the generated code answers for an RPC that the service does not have yet.
			return rpcerr.New(codes.Unimplemented, accountsv1.ErrorReason_ERROR_REASON_UNSPECIFIED, "this call is not implemented")
		default:
			return rpcerr.Internal(err)
		}
	}
	var known *rpcerr.Error
	if errors.As(rpcerr.FromStore(err), &known) {
		return known
	}
	return rpcerr.Internal(err)
}

func fromContext(kind, cause error) *rpcerr.Error {
	var known *rpcerr.Error
	if errors.As(rpcerr.FromStore(kind), &known) {
		return known.WithCause(cause)
	}
	return rpcerr.Internal(cause)
}

func logCause(ctx context.Context, logs *sampledLog, level slog.Level, fullMethod string, known *rpcerr.Error) {
	attrs := []slog.Attr{slog.String("method", shortMethod(fullMethod)), slog.String("error", known.Error())}
	var panicked *panicError
	var inStore *sqldb.PanicError
	switch {
	case errors.As(known, &panicked):
		attrs = append(attrs, slog.String("stack", string(panicked.stack)))
	case errors.As(known, &inStore):
		attrs = append(attrs, slog.String("stack", string(inStore.Stack)))
	}
	logs.log(ctx, level, "rpc failed", attrs...)
}

// readingStream gives a meaning to what grpc itself says when a message cannot be read, so that it is not taken for an error of
// ours.
type readingStream struct{ grpc.ServerStream }

func (s readingStream) RecvMsg(message any) error {
	err := s.ServerStream.RecvMsg(message)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return rpcerr.New(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_REQUEST_INVALID, "the request is too large").WithCause(err)
	case codes.Internal:
		return rpcerr.New(codes.InvalidArgument, accountsv1.ErrorReason_ERROR_REASON_REQUEST_INVALID, "the request cannot be read").WithCause(err)
	default:
		return err
	}
}

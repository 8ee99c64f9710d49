package rpcerr

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// FromStore is the last step of a handler: it makes of any error one that may be sent. An *Error passes as it is, however it is
// wrapped. A store that cannot take the call, and one whose commit nobody knows the outcome of, are UNAVAILABLE with a retry in
// a second: a retry with the same idempotency key gets the first result. The end of the call's context is DEADLINE_EXCEEDED or
// CANCELED. All else is INTERNAL. The error given stays the cause, for the log. A nil error gives nil.
func FromStore(err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, sqldb.ErrUnavailable), errors.Is(err, sqldb.ErrUnknownOutcome):
		return Unavailable(err)
	case errors.Is(err, context.DeadlineExceeded):
		return New(codes.DeadlineExceeded, accountsv1.ErrorReason_ERROR_REASON_UNAVAILABLE, "the call did not end in time").
			WithCause(err)
	case errors.Is(err, context.Canceled):
		return New(codes.Canceled, accountsv1.ErrorReason_ERROR_REASON_UNAVAILABLE, "the caller gave up").WithCause(err)
	default:
		return Internal(err)
	}
}

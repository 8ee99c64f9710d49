package rpcerr

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason is the reason of an error that this package made, here or at the far end of a call, without ERROR_REASON_; empty when
// it has none.
func Reason(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.reason
	}
	if info := detail[*errdetails.ErrorInfo](statusOf(err)); info != nil {
		return info.GetReason()
	}
	return ""
}

// Code is the gRPC code of an error that this package or grpc made: OK for nil, UNKNOWN for any other error.
func Code(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.code
	}
	if st := statusOf(err); st != nil {
		return st.Code()
	}
	return codes.Unknown
}

// RetryAfter is how long the error asks to wait before a retry; false when it does not say.
func RetryAfter(err error) (time.Duration, bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.retryAfter, e.retryAfter > 0
	}
	if info := detail[*errdetails.RetryInfo](statusOf(err)); info != nil {
		return info.GetRetryDelay().AsDuration(), true
	}
	return 0, false
}

// Metadata is what the error's google.rpc.ErrorInfo carries; nil when nothing. It must not be changed.
func Metadata(st *status.Status) map[string]string {
	return detail[*errdetails.ErrorInfo](st).GetMetadata()
}

// Violations are the bad fields that a status lists, in order; nil when it lists none.
func Violations(st *status.Status) []Violation {
	bad := detail[*errdetails.BadRequest](st).GetFieldViolations()
	if len(bad) == 0 {
		return nil
	}
	violations := make([]Violation, len(bad))
	for i, v := range bad {
		violations[i] = Violation{Field: v.GetField(), Reason: v.GetDescription()}
	}
	return violations
}

// FromPeer makes of what a call to another service answered an error for one's own caller: that of the known ones whose reason it
// has, UNAVAILABLE when the same call may succeed later, INTERNAL for all else. The far error stays the cause of the last two, for the
// log. A nil error gives nil.
func FromPeer(err error, known ...*Error) error {
	if err == nil {
		return nil
	}
	reason := Reason(err)
	for _, e := range known {
		if reason == e.Reason() {
			return e
		}
	}
	switch Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.ResourceExhausted:
		return Unavailable(err)
	}
	return Internal(err)
}

// statusOf finds the status that some error in the chain carries. Unlike status.FromError it does not put the texts of wrapping
// errors into the message: those are internal.
func statusOf(err error) *status.Status {
	var carrier interface{ GRPCStatus() *status.Status }
	if errors.As(err, &carrier) {
		return carrier.GRPCStatus()
	}
	return nil
}

// detail is the first detail of type T, or T's zero value.
func detail[T any](st *status.Status) T {
	for _, d := range st.Details() {
		if found, ok := d.(T); ok {
			return found
		}
	}
	var none T
	return none
}

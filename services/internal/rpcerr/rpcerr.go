// Package rpcerr turns what went wrong into what a caller may know: a gRPC code, a stable reason, a sentence for people and the
// details that go with it. What only the operator may know travels beside it as the cause, and never leaves the process.
package rpcerr

import (
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
)

// reasonPrefix begins every value of an error-reason enum, as buf's lint demands; it is not part of the reason on the wire.
const reasonPrefix = "ERROR_REASON_"

// Error is a failed call as its caller may see it (google.rpc.Status with google.rpc.ErrorInfo, AIP-193), plus the cause, which
// only the log sees. It is immutable: the With methods return changed copies, so an Error may be a package variable.
type Error struct {
	code       codes.Code
	domain     string
	reason     string
	message    string
	metadata   map[string]string
	violations []Violation
	retryAfter time.Duration
	cause      error
}

// Violation is one bad field of a request.
type Violation struct {
	// Field is the JSON path of the field, in the names that REST callers use: "clientIdentifier", "filters.startDate".
	Field string
	// Reason says in words what is wrong with it. It never repeats the value.
	Reason string
}

// New makes an error. The reason is a value of the ErrorReason enum of the service that fails: its name without ERROR_REASON_
// goes on the wire, and the package of the enum is the domain. The message is a sentence for people and holds no personal data.
// The rest are names and values, in turn, of the metadata that the reason's comment in the contract promises; an odd last name
// gets an empty value.
func New(code codes.Code, reason protoreflect.Enum, message string, metadata ...string) *Error {
	e := &Error{code: code, message: message}
	descriptor := reason.Descriptor()
	e.domain = string(descriptor.ParentFile().Package())
	if value := descriptor.Values().ByNumber(reason.Number()); value != nil {
		e.reason = strings.TrimPrefix(string(value.Name()), reasonPrefix)
	}
	for len(metadata) > 0 {
		if e.metadata == nil {
			e.metadata = make(map[string]string, (len(metadata)+1)/2)
		}
		name, value := metadata[0], ""
		metadata = metadata[1:]
		if len(metadata) > 0 {
			value, metadata = metadata[0], metadata[1:]
		}
		e.metadata[name] = value
	}
	return e
}

// Invalid is the error of a request with bad fields: INVALID_ARGUMENT, REQUEST_INVALID and a google.rpc.BadRequest that lists
// every violation.
func Invalid(violations ...Violation) *Error {
	return New(codes.InvalidArgument, accountsv1.ErrorReason_ERROR_REASON_REQUEST_INVALID, "the request has bad fields").
		WithViolations(violations...)
}

// Internal is the error for what should not happen. The caller gets a neutral sentence; the cause is for the log. A nil cause
// is allowed.
func Internal(cause error) *Error {
	return New(codes.Internal, accountsv1.ErrorReason_ERROR_REASON_INTERNAL, "something unexpected happened").WithCause(cause)
}

// Unavailable is the error for what a retry may mend. It asks the caller to come back in a second.
func Unavailable(cause error) *Error {
	return New(codes.Unavailable, accountsv1.ErrorReason_ERROR_REASON_UNAVAILABLE, "the service cannot take the call now").
		WithRetryAfter(time.Second).WithCause(cause)
}

// WithCause returns the error with what brought it about. The cause is what Unwrap returns; it is never sent.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// WithRetryAfter returns the error with a google.rpc.RetryInfo. A d of zero or less means none.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	c := *e
	c.retryAfter = d
	return &c
}

// WithViolations returns the error with these bad fields after those that it has.
func (e *Error) WithViolations(violations ...Violation) *Error {
	c := *e
	c.violations = append(e.violations[:len(e.violations):len(e.violations)], violations...)
	return &c
}

// WithMetadata returns the error with one more name and value in its google.rpc.ErrorInfo.
func (e *Error) WithMetadata(name, value string) *Error {
	c := *e
	c.metadata = make(map[string]string, len(e.metadata)+1)
	for k, v := range e.metadata {
		c.metadata[k] = v
	}
	c.metadata[name] = value
	return &c
}

// Error is for logs: reason, message and cause. It is not what the caller gets; GRPCStatus is.
func (e *Error) Error() string {
	text := e.message
	if e.reason != "" {
		text = e.reason + ": " + text
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an Error of the same domain and reason, so that errors.Is finds a reason through any wrapping,
// whatever the metadata.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && e.reason != "" && t.reason == e.reason && t.domain == e.domain
}

// Code is the gRPC code.
func (e *Error) Code() codes.Code { return e.code }

// Reason is the reason as it goes on the wire, without ERROR_REASON_.
func (e *Error) Reason() string { return e.reason }

// Message is the sentence that the caller gets.
func (e *Error) Message() string { return e.message }

// GRPCStatus is the error as it goes on the wire, without the cause. The grpc package looks for this method.
func (e *Error) GRPCStatus() *status.Status {
	st := status.New(e.code, e.message)
	details := make([]protoadapt.MessageV1, 0, 3)
	if e.reason != "" {
		details = append(details, &errdetails.ErrorInfo{Reason: e.reason, Domain: e.domain, Metadata: e.metadata})
	}
	if e.retryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.retryAfter)})
	}
	if len(e.violations) > 0 {
		bad := &errdetails.BadRequest{FieldViolations: make([]*errdetails.BadRequest_FieldViolation, len(e.violations))}
		for i, v := range e.violations {
			bad.FieldViolations[i] = &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Reason}
		}
		details = append(details, bad)
	}
	if with, err := st.WithDetails(details...); err == nil {
		return with
	}
	// Only a text that is not UTF-8 gets here; the bare status is still right.
	return status.New(e.code, strings.ToValidUTF8(e.message, "\uFFFD"))
}

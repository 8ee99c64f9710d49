package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Reasons that the gateway gives of its own accord; they are values of the accounts service's ErrorReason.
const (
	reasonRequestInvalid       = "REQUEST_INVALID"
	reasonCredentialsMissing   = "CREDENTIALS_MISSING"
	reasonCredentialsMalformed = "CREDENTIALS_MALFORMED"
	reasonKeyReused            = "IDEMPOTENCY_KEY_REUSED"
	reasonUnavailable          = "UNAVAILABLE"
	reasonInternal             = "INTERNAL"
	reasonUnspecified          = "UNSPECIFIED" // as good as none
)

// refusal is a failed call before it is put into the form of its surface.
type refusal struct {
	status int
	// reason is the stable word for what went wrong; empty when there is none.
	reason string
	// detail is a sentence that the caller may read; empty for the one that belongs to the status.
	detail string
	// malformed says what keeps the body as a whole from being read ("is not valid JSON"); only with status 400.
	malformed string
	// invalid are the bad fields, by the names that the caller used; only with status 400.
	invalid []rpcerr.Violation
	// retryAfter is how long to wait; with 429 and 503 at least a second is said.
	retryAfter time.Duration
	// allow are the methods of the resource; only with status 405.
	allow string
	// cause is for the log.
	cause error
}

func (r *refusal) Error() string { return http.StatusText(r.status) }

func (r *refusal) Unwrap() error { return r.cause }

// refuse makes the refusal of a status that needs no more words.
func refuse(status int) *refusal { return &refusal{status: status} }

// refusalOf makes a refusal of what a call failed with.
func refusalOf(err error, c *call) *refusal {
	var own *refusal
	if errors.As(err, &own) {
		return own
	}
	var routing *runtime.HTTPStatusError
	if errors.As(err, &routing) {
		return &refusal{status: routing.HTTPStatus, cause: err}
	}
	code, message := codeAndMessage(err)
	made := &refusal{status: statusOf(code), reason: rpcerr.Reason(err), cause: err}
	switch made.reason {
	case reasonKeyReused:
		made.status = http.StatusUnprocessableEntity
	case reasonUnspecified:
		made.reason = ""
	}
	if name, ok := badPathNumber(made, message); ok {
		made.reason, made.invalid = reasonRequestInvalid, []rpcerr.Violation{{Field: name, Reason: "must be an integer"}}
		return made
	}
	made.retryAfter, _ = rpcerr.RetryAfter(err)
	switch {
	case made.reason != "":
	case made.status == http.StatusInternalServerError:
		made.reason = reasonInternal
	case made.status == http.StatusServiceUnavailable, made.status == http.StatusGatewayTimeout:
		made.reason = reasonUnavailable // no service said so, for none was reached, or not in time
	}
	// Only a status with a reason was made by a service for its callers. Any other text, and every text about the inside (a
	// host that cannot be reached, say), stays inside.
	if made.reason != "" && made.status < http.StatusInternalServerError {
		made.detail = message
	}
	if made.status == http.StatusBadRequest {
		made.invalid = c.binding.rename(rpcerr.Violations(status.Convert(err)))
	}
	return made
}

func codeAndMessage(err error) (codes.Code, string) {
	if errors.Is(err, context.DeadlineExceeded) {
		return codes.DeadlineExceeded, ""
	}
	st := status.Convert(err)
	return st.Code(), st.Message()
}

// statusOf is the HTTP status of a gRPC code (the mapping of google.rpc.Code).
func statusOf(code codes.Code) int {
	switch code {
	case codes.InvalidArgument, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted, codes.FailedPrecondition:
		return http.StatusConflict
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable, codes.Canceled:
		// The caller is still there to read it, so it was not the caller who cancelled.
		return http.StatusServiceUnavailable
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// retrySeconds is what Retry-After says, rounded up: coming back early would only be refused again. Nobody comes back to the
// millisecond, so one that is over makes no second more.
func (r *refusal) retrySeconds() int64 {
	return max(1, int64((r.retryAfter-time.Millisecond+time.Second-1)/time.Second))
}

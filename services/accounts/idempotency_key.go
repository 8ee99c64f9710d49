package accounts

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	idempotencyHeader    = "idempotency-key"
	maxIdempotencyLength = 255
)

// idempotencyKey is what the caller sent in the metadata `idempotency-key`, 1 to 255 characters, bound to the request; nil when
// there is none.
func idempotencyKey(ctx context.Context, instance, scope string, request proto.Message) (*idempotency.Key, error) {
	values := metadata.ValueFromIncomingContext(ctx, idempotencyHeader)
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 || len(values[0]) > maxIdempotencyLength || !printable(values[0]) {
		return nil, rpcerr.Invalid(rpcerr.Violation{Field: idempotencyHeader, Reason: "must be one value of 1 to 255 printable characters"})
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	return &idempotency.Key{Instance: instance, Scope: scope, Key: values[0], Fingerprint: sha256.Sum256(encoded)}, nil
}

// printable reports whether s is some ASCII without control characters, as a header's value is (RFC 9110, section 5.5).
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// quoted writes a name from a request so that it is safe to show.
func quoted(name string) string {
	const maxShown = 64
	if len(name) > maxShown {
		name = name[:maxShown] + "…"
	}
	return strconv.QuoteToASCII(name)
}

// createError gives the store's answers to a create their reasons.
func createError(err error) error {
	if errors.Is(err, idempotency.ErrReused) {
		return rpcerr.New(codes.AlreadyExists, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
			"the idempotency key was used with another request")
	}
	return rpcerr.FromStore(err)
}

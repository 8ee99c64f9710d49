// Package idemkey reads the idempotency key of a call, and tells the request
// that it stands for from others.
package idemkey

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	name      = "idempotency-key"
	maxLength = 255
	// field is how a violation names the key: as the header is written.
	field = "Idempotency-Key"
)

var (
	// ErrReused is the error of a key that stands for another request.
	ErrReused = rpcerr.New(codes.FailedPrecondition, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
		"the idempotency key was used with another request")
	// ErrInFlight is the error of a key whose first call has not ended yet.
	ErrInFlight = rpcerr.New(codes.Aborted, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_IN_FLIGHT,
		"the first call with this idempotency key has not ended yet")
)

// FromContext returns the key in the metadata of a call, and false if there is
// none. A key is 1 to 255 printable ASCII characters; anything else is
// REQUEST_INVALID, and so are several keys.
func FromContext(ctx context.Context) (key string, ok bool, err error) {
	values := metadata.ValueFromIncomingContext(ctx, name)
	if len(values) == 0 {
		return "", false, nil
	}
	if len(values) > 1 {
		return "", false, rpcerr.Invalid(rpcerr.Violation{Field: field, Reason: "must be given once"})
	}
	key = values[0]
	if len(key) == 0 || len(key) > maxLength {
		return "", false, rpcerr.Invalid(rpcerr.Violation{Field: field, Reason: "must be 1 to 255 characters"})
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "", false, rpcerr.Invalid(rpcerr.Violation{Field: field, Reason: "must be printable ASCII characters"})
		}
	}
	return key, true, nil
}

// Fingerprint is a keyed hash of the parts of a request: equal only for equal
// parts, and of no use to who does not have the secret.
func Fingerprint(secret []byte, parts ...string) [32]byte {
	mac := hmac.New(sha256.New, secret)
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return [32]byte(mac.Sum(nil))
}

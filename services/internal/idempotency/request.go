package idempotency

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// Metadata is the name under which a call carries its key.
	Metadata = "idempotency-key"
	// MaxLength is the number of characters of a key at most.
	MaxLength = 255
	// field is how a violation names the key: as the header is written.
	field = "Idempotency-Key"
)

// Errors of calls with a key; they may be sent as they are.
var (
	// ErrReused says that the key was used before for another request.
	ErrReused = rpcerr.New(codes.AlreadyExists, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED,
		"the idempotency key was used with another request")
	// ErrInFlight says that the first call with the key has not ended yet.
	ErrInFlight = rpcerr.New(codes.Aborted, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_IN_FLIGHT,
		"the first call with this idempotency key has not ended yet")
)

// FromContext returns the key in the metadata of a call, and false if there is none. A key is 1 to 255 printable ASCII characters,
// as the value of a header (RFC 9110, section 5.5); anything else is REQUEST_INVALID, and so are several keys.
func FromContext(ctx context.Context) (key string, ok bool, err error) {
	values := metadata.ValueFromIncomingContext(ctx, Metadata)
	if len(values) == 0 {
		return "", false, nil
	}
	if len(values) > 1 {
		return "", false, refused("must be given once")
	}
	key = values[0]
	if key == "" || len(key) > MaxLength {
		return "", false, refused(fmt.Sprintf("must be 1 to %d characters", MaxLength))
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "", false, refused("must be printable ASCII characters")
		}
	}
	return key, true, nil
}

func refused(reason string) error {
	return rpcerr.Invalid(rpcerr.Violation{Field: field, Reason: reason})
}

// OfRequest is the key of a call bound to the whole of its request; nil when the call carries none. The scope is the method.
// Fingerprint is for requests of which nobody may learn anything from a hash.
func OfRequest(ctx context.Context, instance, scope string, request proto.Message) (*Key, error) {
	key, ok, err := FromContext(ctx)
	if err != nil || !ok {
		return nil, err
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, rpcerr.Internal(fmt.Errorf("encode request: %w", err))
	}
	return &Key{Instance: instance, Scope: scope, Key: key, Fingerprint: sha256.Sum256(encoded)}, nil
}

// Fingerprint is a keyed hash of the parts of a request: equal only for equal parts, and of no use to who does not have the secret.
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

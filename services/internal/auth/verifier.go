package auth

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// keyTTL is how long a deleted key may still work.
	keyTTL = 10 * time.Second
	// badKeyTTL is how long a key that is not valid is refused without asking again.
	badKeyTTL = 2 * time.Second
	// maxKeys bounds the remembered keys; some 200 bytes each.
	maxKeys = 16_384
	// maxBadKeys bounds the remembered wrong keys, apart from the others so that guessing pushes no good key out.
	maxBadKeys = 4_096
	// maxKeyLength is the longest key that the contract lets through, in bytes.
	maxKeyLength = 1024
)

// Verifier says whose key this is. Errors: UNAUTHENTICATED API_KEY_INVALID, or UNAVAILABLE when it cannot be told.
type Verifier interface {
	Verify(ctx context.Context, key string) (Principal, error)
}

// NewVerifier returns a Verifier that asks the accounts service and remembers each answer for 10 seconds at most, so a deleted
// key works that long, and an expired one not at all. Keys are remembered by their SHA-256. Calls for one key at the same time
// share one question.
func NewVerifier(identity accountsv1.IdentityServiceClient, c clock.Clock) Verifier {
	v := &verifier{identity: identity, clock: c}
	v.cache = newCache[Principal](c, maxKeys, maxBadKeys, badKeyTTL, isKeyInvalid)
	return v
}

type verifier struct {
	identity accountsv1.IdentityServiceClient
	clock    clock.Clock
	cache    *cache[Principal]
}

func (v *verifier) Verify(ctx context.Context, key string) (Principal, error) {
	if !plausible(key) {
		return Principal{}, errKeyInvalid
	}
	sum := sha256.Sum256([]byte(key))
	return v.cache.get(ctx, string(sum[:]), func(ctx context.Context) (Principal, time.Time, error) {
		asked := v.clock.Now()
		answer, err := v.identity.VerifyKey(ctx, &accountsv1.VerifyKeyRequest{Key: key})
		if err != nil {
			return Principal{}, time.Time{}, verifyError(err)
		}
		until := asked.Add(keyTTL)
		if expire := answer.GetExpireTime(); expire != nil && expire.AsTime().Before(until) {
			until = expire.AsTime()
			if !until.After(asked) {
				return Principal{}, time.Time{}, errKeyInvalid
			}
		}
		return Principal{
			Root: answer.GetRoot(), Instance: answer.GetInstance(), KeyID: answer.GetKeyId(), Scopes: answer.GetScopes(),
		}, until, nil
	})
}

// plausible tells, without asking anybody, that a key cannot be right: it is empty, too long, not text, or has the form of an
// instance's key and a wrong checksum.
func plausible(key string) bool {
	if key == "" || len(key) > maxKeyLength {
		return false
	}
	if strings.HasPrefix(key, apikey.Prefix) {
		_, err := apikey.Parse(key)
		return err == nil
	}
	return printable(key)
}

func printable(key string) bool {
	for i := range len(key) {
		if key[i] < ' ' || key[i] == 0x7f {
			return false
		}
	}
	return true
}

func isKeyInvalid(err error) bool {
	return rpcerr.Reason(err) == errKeyInvalid.Reason()
}

// verifyError keeps what the caller may know: the key is wrong, or nobody can tell now.
func verifyError(err error) error {
	switch {
	case isKeyInvalid(err):
		return errKeyInvalid
	case rpcerr.Code(err) == codes.Internal, rpcerr.Code(err) == codes.Unknown:
		return rpcerr.Internal(err)
	default:
		return rpcerr.Unavailable(err)
	}
}

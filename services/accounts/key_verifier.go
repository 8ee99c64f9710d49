package accounts

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// errKeyInvalid is the one answer to every key that does not work, so that it says nothing about why.
var errKeyInvalid = rpcerr.New(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_API_KEY_INVALID, "the key is not valid")

// identity is whose key was shown. Root has nothing else set.
type identity struct {
	root bool
	key  store.APIKey
}

// keyVerifier tells whose a key is.
type keyVerifier struct {
	// rootSum makes the two compared values equally long, so that the comparison does not tell the root key's length.
	rootSum [sha256.Size]byte
	hash    secretHasher
	store   interface {
		KeyByID(ctx context.Context, id string) (store.APIKey, error)
	}
	clock clock.Clock
	uses  *useRecorder
}

func newKeyVerifier(rootKey string, hash secretHasher, s *store.Store, c clock.Clock, uses *useRecorder) *keyVerifier {
	return &keyVerifier{rootSum: sha256.Sum256([]byte(rootKey)), hash: hash, store: s, clock: c, uses: uses}
}

// verify says whose key this is, or that it is not valid. A malformed one costs no look into the store.
func (v *keyVerifier) verify(ctx context.Context, shown string) (identity, error) {
	sum := sha256.Sum256([]byte(shown))
	if subtle.ConstantTimeCompare(sum[:], v.rootSum[:]) == 1 {
		return identity{root: true}, nil
	}
	parsed, err := apikey.Parse(shown)
	if err != nil {
		return identity{}, errKeyInvalid
	}
	k, err := v.store.KeyByID(ctx, parsed.ID)
	if err != nil && !errors.Is(err, store.ErrKeyNotFound) {
		return identity{}, err
	}
	now := v.clock.Now()
	// The secret is compared for an unknown key too, with a sum that none has: both take the same time.
	if !v.hash.matches(parsed.Secret, k.SecretHash) || expired(k, now) {
		return identity{}, errKeyInvalid
	}
	v.uses.note(k, now)
	return identity{key: k}, nil
}

func expired(k store.APIKey, now time.Time) bool {
	return !k.ExpireTime.IsZero() && !now.Before(k.ExpireTime)
}

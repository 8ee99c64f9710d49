package accounts

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// keyStore is what keys needs of the store.
type keyStore interface {
	Once(ctx context.Context, key *idempotency.Key, create func(ctx context.Context, tx *store.Tx) ([]byte, error)) ([]byte, bool, error)
	Instance(ctx context.Context, slug string) (store.Instance, error)
	Key(ctx context.Context, instance, id string) (store.APIKey, error)
	Keys(ctx context.Context, instance string, after time.Time, afterID string, limit int) ([]store.APIKey, error)
	DeleteKey(ctx context.Context, instance, id string) error
}

// keys is what can be done with the API keys of an instance.
type keys struct {
	store  keyStore
	clock  clock.Clock
	ids    *id.Source
	box    *secretbox.Box
	hash   secretHasher
	random io.Reader
}

// create makes a key. encode makes of it, and of the key as its owner uses it, the response; that is sealed before it is kept for
// repetitions, because it is the only place where the key is.
func (u *keys) create(ctx context.Context, once *idempotency.Key, k store.APIKey, encode func(k store.APIKey, revealed string) ([]byte, error)) ([]byte, error) {
	if !slugForm.MatchString(k.Instance) {
		return nil, instanceNotFound(k.Instance)
	}
	made := apikey.Generate(u.ids.New(), u.random)
	k.ID, k.SecretHash = made.ID, u.hash.sum(made.Secret)
	k.CreateTime = u.clock.Now().Truncate(time.Microsecond)
	purpose := "accounts/idempotency/" + k.Instance
	sealed, _, err := u.store.Once(ctx, once, func(ctx context.Context, tx *store.Tx) ([]byte, error) {
		// Here and not before: a repetition gets the first response though the key may have expired meanwhile.
		if faults := newKeyFaults(k, k.CreateTime); len(faults) > 0 {
			return nil, rpcerr.Invalid(faults...)
		}
		if err := tx.CreateKey(ctx, k); err != nil {
			return nil, err
		}
		response, err := encode(k, made.Reveal())
		if err != nil {
			return nil, err
		}
		return u.box.Seal(response, purpose)
	})
	if errors.Is(err, store.ErrInstanceNotFound) {
		return nil, instanceNotFound(k.Instance)
	}
	if err != nil {
		return nil, err
	}
	return u.box.Open(sealed, purpose)
}

// newKeyFaults are the faults of a key made now that the contract's rules cannot see.
func newKeyFaults(k store.APIKey, now time.Time) []rpcerr.Violation {
	if k.ExpireTime.IsZero() || k.ExpireTime.After(now) {
		return nil
	}
	return []rpcerr.Violation{{Field: "apiKey.expireTime", Reason: "must be in the future"}}
}

func (u *keys) get(ctx context.Context, instance, keyID string) (store.APIKey, error) {
	if !slugForm.MatchString(instance) || !id.Valid(keyID) {
		return store.APIKey{}, keyNotFound(keyID)
	}
	k, err := u.store.Key(ctx, instance, keyID)
	if errors.Is(err, store.ErrKeyNotFound) {
		return store.APIKey{}, keyNotFound(keyID)
	}
	return k, err
}

// list gives the page of keys after a place, and whether there are more.
func (u *keys) list(ctx context.Context, instance string, after pagetoken.Place, size int) (page []store.APIKey, more bool, err error) {
	if !slugForm.MatchString(instance) {
		return nil, false, instanceNotFound(instance)
	}
	found, err := u.store.Keys(ctx, instance, after.Time, after.ID, size+1)
	if err != nil {
		return nil, false, err
	}
	if len(found) == 0 {
		_, err := u.store.Instance(ctx, instance)
		if errors.Is(err, store.ErrInstanceNotFound) {
			return nil, false, instanceNotFound(instance)
		}
		return nil, false, err
	}
	if len(found) > size {
		return found[:size], true, nil
	}
	return found, false, nil
}

func (u *keys) delete(ctx context.Context, instance, keyID string) error {
	if !slugForm.MatchString(instance) || !id.Valid(keyID) {
		return keyNotFound(keyID)
	}
	err := u.store.DeleteKey(ctx, instance, keyID)
	if errors.Is(err, store.ErrKeyNotFound) {
		return keyNotFound(keyID)
	}
	return err
}

func keyNotFound(keyID string) error {
	return rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_API_KEY_NOT_FOUND, "no such API key", "id", keyID)
}

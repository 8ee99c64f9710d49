package store

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Key is a caller's idempotency key, and what it stands for.
type Key struct {
	// Scope is the operation, so that equal keys of different operations do
	// not meet.
	Scope string
	// Key is what the caller sent.
	Key string
	// Fingerprint tells the request from others. It is keyed: nobody learns the
	// request from it.
	Fingerprint [32]byte
	// Response is what a repetition is answered with.
	Response []byte
}

func (k *Key) of(instance string) idempotency.Key {
	return idempotency.Key{Instance: instance, Scope: k.Scope, Key: k.Key, Fingerprint: k.Fingerprint}
}

// takeKey stores the record of a key and reports false if it was taken.
func takeKey(ctx context.Context, tx sqldb.Tx, instance string, key *Key, now time.Time) (bool, error) {
	return idempotency.Take(ctx, tx, key.of(instance), key.Response, now)
}

// recall returns the first response of a key that is taken; nil if it is not.
func recall(ctx context.Context, r sqldb.Reader, instance string, key *Key, now time.Time) ([]byte, error) {
	response, _, err := idempotency.Recall(ctx, r, key.of(instance), now)
	return response, err
}

// Recall returns the first response of a key; nil if the key is free, and
// idempotency.ErrReused if it stands for another request.
func (s *Store) Recall(ctx context.Context, instance string, key *Key, now time.Time) ([]byte, error) {
	return recall(ctx, s.db.Reader(), instance, key, now)
}

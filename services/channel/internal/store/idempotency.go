package store

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// keyLifetime is how long an idempotency key stands for its first request.
const keyLifetime = 24 * time.Hour

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

const (
	takeKeySQL = `
INSERT INTO idempotency (instance, scope, key, fingerprint, response, expire_time) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (instance, scope, key) DO UPDATE
SET fingerprint = excluded.fingerprint, response = excluded.response, expire_time = excluded.expire_time
WHERE idempotency.expire_time <= $7`
	recallSQL = `
SELECT fingerprint, response FROM idempotency WHERE instance = $1 AND scope = $2 AND key = $3 AND expire_time > $4`
)

// takeKey stores the record of a key and reports false if it was taken.
func takeKey(ctx context.Context, tx sqldb.Tx, instance string, key *Key, now time.Time) (bool, error) {
	result, err := tx.ExecContext(ctx, takeKeySQL, instance, key.Scope, key.Key, key.Fingerprint[:], key.Response,
		sqldb.Micros(now.Add(keyLifetime)), sqldb.Micros(now))
	if err != nil {
		return false, fmt.Errorf("take idempotency key: %w", err)
	}
	rows, err := result.RowsAffected()
	return rows > 0, err
}

// recall returns the first response of a key that is taken; nil if it is not.
func recall(ctx context.Context, r sqldb.Reader, instance string, key *Key, now time.Time) ([]byte, error) {
	var fingerprint, response []byte
	err := r.QueryRowContext(ctx, recallSQL, instance, key.Scope, key.Key, sqldb.Micros(now)).Scan(&fingerprint, &response)
	switch {
	case sqldb.IsNoRows(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("recall idempotency key: %w", err)
	case subtle.ConstantTimeCompare(fingerprint, key.Fingerprint[:]) == 0:
		return nil, ErrKeyReused
	}
	return response, nil
}

// Recall returns the first response of a key; nil if the key is free, and
// ErrKeyReused if it stands for another request.
func (s *Store) Recall(ctx context.Context, instance string, key *Key, now time.Time) ([]byte, error) {
	return recall(ctx, s.db.Reader(), instance, key, now)
}

// Package idempotency makes a call with an Idempotency-Key take effect once: the key, what was asked and what was answered are a
// row in the service's own store, written in the same transaction as the effect.
//
// Every service that uses it has this table in its migrations (BYTEA and COLLATE "C" on PostgreSQL):
//
//	CREATE TABLE idempotency (
//	    instance    TEXT   NOT NULL,
//	    scope       TEXT   NOT NULL,
//	    key         TEXT   NOT NULL,
//	    fingerprint BLOB   NOT NULL,
//	    response    BLOB,
//	    expire_time BIGINT NOT NULL,
//	    PRIMARY KEY (instance, scope, key)
//	) WITHOUT ROWID;
//	CREATE INDEX idempotency_expire_time ON idempotency (expire_time);
package idempotency

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// Lifetime is how long a key is remembered after its first use.
	Lifetime = 24 * time.Hour
	// sweepBatch is how many rows one transaction of Sweep deletes, so that it holds up nobody.
	sweepBatch = 500
)

// Key names one request of a caller.
type Key struct {
	Instance string
	// Scope separates callers and methods that may choose the same key, for example the method and the id of the channel.
	Scope string
	// Key is what the caller sent.
	Key string
	// Fingerprint is a hash of the whole request. The same key with another fingerprint is ErrReused.
	Fingerprint [32]byte
}

const (
	// take stores the record of a key, or takes it over when it has expired. On PostgreSQL it waits for a transaction that has just
	// taken the same key.
	take = `INSERT INTO idempotency (instance, scope, key, fingerprint, response, expire_time)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (instance, scope, key) DO UPDATE
SET fingerprint = excluded.fingerprint, response = excluded.response, expire_time = excluded.expire_time
WHERE idempotency.expire_time <= $7`

	recall = `SELECT fingerprint, response FROM idempotency
WHERE instance = $1 AND scope = $2 AND key = $3 AND expire_time > $4`

	remember = `UPDATE idempotency SET response = $4 WHERE instance = $1 AND scope = $2 AND key = $3`

	sweep = `DELETE FROM idempotency WHERE (instance, scope, key) IN
(SELECT instance, scope, key FROM idempotency WHERE expire_time <= $1 ORDER BY expire_time LIMIT $2)`
)

// Run calls fn if k is new, and keeps its response; otherwise it returns the response of the first time, and replayed is true.
// fn writes with the same transaction. If it fails, return the error from the transaction's function: that undoes the key too, so
// the caller's next try is a first one. Of several calls at the same time one runs fn and the others get its response. A nil k is
// that of a caller who sent none: fn runs and nothing is kept.
//
// The response is stored as it is, for 24 hours. Where it holds a secret (a new API key) the caller seals it before and opens it after.
func Run(
	ctx context.Context, tx sqldb.Tx, clk clock.Clock, k *Key, fn func() (response []byte, err error),
) (response []byte, replayed bool, err error) {
	if k == nil {
		response, err = fn()
		return response, false, err
	}
	now := clk.Now()
	taken, err := Take(ctx, tx, *k, nil, now)
	if err != nil {
		return nil, false, err
	}
	if !taken {
		response, replayed, err = Recall(ctx, tx, *k, now)
		if err == nil && !replayed {
			err = fmt.Errorf("recall response: %w", sql.ErrNoRows)
		}
		return response, replayed, err
	}
	response, err = fn()
	if err != nil {
		return nil, false, err
	}
	if _, err := tx.ExecContext(ctx, remember, k.Instance, k.Scope, k.Key, response); err != nil {
		return nil, false, fmt.Errorf("remember response: %w", err)
	}
	return response, false, nil
}

// Take stores the record of a key whose response is known before its effect, in one statement where Run needs two. False means that
// the key was taken before; Recall has the response then.
func Take(ctx context.Context, tx sqldb.Tx, k Key, response []byte, now time.Time) (bool, error) {
	result, err := tx.ExecContext(ctx, take, k.Instance, k.Scope, k.Key, k.Fingerprint[:], response,
		sqldb.Micros(now.Add(Lifetime)), sqldb.Micros(now))
	if err != nil {
		return false, fmt.Errorf("take idempotency key: %w", err)
	}
	taken, err := result.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("take idempotency key: %w", err)
	}
	return taken > 0, nil
}

// Recall returns the first response of a key, and false if the key is free. The error is ErrReused if the key stands for another
// request.
func Recall(ctx context.Context, r sqldb.Reader, k Key, now time.Time) (response []byte, taken bool, err error) {
	var fingerprint []byte
	err = r.QueryRowContext(ctx, recall, k.Instance, k.Scope, k.Key, sqldb.Micros(now)).Scan(&fingerprint, &response)
	switch {
	case sqldb.IsNoRows(err):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("recall response: %w", err)
	case subtle.ConstantTimeCompare(fingerprint, k.Fingerprint[:]) == 0:
		return nil, false, ErrReused
	}
	return response, true, nil
}

// Sweep deletes the keys that have expired, a few hundred at a time, and returns how many there were. A worker calls it now and
// then; nothing but the size of the table depends on it.
func Sweep(ctx context.Context, db *sqldb.DB, clk clock.Clock) (deleted int64, err error) {
	now := sqldb.Micros(clk.Now())
	for {
		result, err := db.Exec1(ctx, sweep, now, sweepBatch)
		if err != nil {
			return deleted, fmt.Errorf("sweep idempotency keys: %w", err)
		}
		batch, err := affected(result)
		if err != nil {
			return deleted, err
		}
		deleted += batch
		if batch < sweepBatch {
			return deleted, nil
		}
	}
}

func affected(result sql.Result) (int64, error) {
	n, err := result.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("count swept idempotency keys: %w", err)
	}
	return n, nil
}

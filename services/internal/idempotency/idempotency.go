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
	"bytes"
	"context"
	"database/sql"
	"errors"
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

// ErrReused says that the key was used before for another request.
var ErrReused = errors.New("idempotency key was used for another request")

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
	// claim takes the key, or takes it over when it has expired. On PostgreSQL it waits for a transaction that has just taken the same key.
	claim = `INSERT INTO idempotency (instance, scope, key, fingerprint, response, expire_time)
VALUES ($1, $2, $3, $4, NULL, $5)
ON CONFLICT (instance, scope, key) DO UPDATE
SET fingerprint = excluded.fingerprint, response = NULL, expire_time = excluded.expire_time
WHERE idempotency.expire_time <= $6`

	recall = `SELECT fingerprint, response FROM idempotency WHERE instance = $1 AND scope = $2 AND key = $3`

	remember = `UPDATE idempotency SET response = $4 WHERE instance = $1 AND scope = $2 AND key = $3`

	sweep = `DELETE FROM idempotency WHERE (instance, scope, key) IN
(SELECT instance, scope, key FROM idempotency WHERE expire_time <= $1 ORDER BY expire_time LIMIT $2)`
)

// Run calls fn if k is new, and keeps its response; otherwise it returns the response of the first time, and replayed is true.
// fn writes with the same transaction. If it fails, return the error from the transaction's function: that undoes the key too, so
// the caller's next try is a first one. Of several calls at the same time one runs fn and the others get its response.
//
// The response is stored as it is, for 24 hours. Where it holds a secret (a new API key) the caller seals it before and opens it after.
func Run(
	ctx context.Context, tx sqldb.Tx, clk clock.Clock, k Key, fn func() (response []byte, err error),
) (response []byte, replayed bool, err error) {
	now := clk.Now()
	result, err := tx.ExecContext(ctx, claim, k.Instance, k.Scope, k.Key, k.Fingerprint[:],
		sqldb.Micros(now.Add(Lifetime)), sqldb.Micros(now))
	if err != nil {
		return nil, false, fmt.Errorf("claim idempotency key: %w", err)
	}
	claimed, err := result.RowsAffected()
	if err != nil {
		return nil, false, fmt.Errorf("claim idempotency key: %w", err)
	}
	if claimed == 0 {
		response, err := replay(ctx, tx, k)
		return response, err == nil, err
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

func replay(ctx context.Context, tx sqldb.Tx, k Key) ([]byte, error) {
	var fingerprint, response []byte
	err := tx.QueryRowContext(ctx, recall, k.Instance, k.Scope, k.Key).Scan(&fingerprint, &response)
	if err != nil {
		return nil, fmt.Errorf("recall response: %w", err)
	}
	if !bytes.Equal(fingerprint, k.Fingerprint[:]) {
		return nil, ErrReused
	}
	return response, nil
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

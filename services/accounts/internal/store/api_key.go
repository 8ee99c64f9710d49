package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// APIKey is a key of an instance, without the secret. Times are kept to the microsecond.
type APIKey struct {
	Instance    string
	ID          string
	DisplayName string
	Scopes      []string
	// SecretHash is a keyed hash of the secret, 32 bytes.
	SecretHash  []byte
	ExpireTime  time.Time // zero is never
	LastUseTime time.Time // zero is never
	CreateTime  time.Time
}

const keyColumns = `instance, id, display_name, scopes, secret_hash, expire_time, last_use_time, create_time`

// CreateKey stores a new key, or fails with ErrInstanceNotFound.
func (t *Tx) CreateKey(ctx context.Context, k APIKey) error {
	result, err := t.tx.ExecContext(ctx, `
		INSERT INTO api_key (`+keyColumns+`)
		SELECT instance, $2, $3, $4, $5, CAST($6 AS BIGINT), CAST($7 AS BIGINT), CAST($8 AS BIGINT)
		FROM instance WHERE instance = $1`,
		k.Instance, k.ID, k.DisplayName, strings.Join(k.Scopes, " "), k.SecretHash,
		sqldb.NullMicros(k.ExpireTime), sqldb.NullMicros(k.LastUseTime), sqldb.Micros(k.CreateTime))
	if err != nil {
		return fmt.Errorf("insert API key: %w", err)
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("insert API key: %w", err)
	}
	if inserted == 0 {
		return ErrInstanceNotFound
	}
	return nil
}

// Key is one key of the instance, or ErrKeyNotFound.
func (s *Store) Key(ctx context.Context, instance, id string) (APIKey, error) {
	return s.readKey(ctx, `SELECT `+keyColumns+` FROM api_key WHERE instance = $1 AND id = $2`, instance, id)
}

// KeyByID is the key with this id in whatever instance, or ErrKeyNotFound. It is for verifying a key that was shown, which names
// no instance.
func (s *Store) KeyByID(ctx context.Context, id string) (APIKey, error) {
	return s.readKey(ctx, `SELECT `+keyColumns+` FROM api_key WHERE id = $1`, id)
}

func (s *Store) readKey(ctx context.Context, query string, args ...any) (APIKey, error) {
	k, err := scanKey(s.db.Reader().QueryRowContext(ctx, query, args...))
	if sqldb.IsNoRows(err) {
		return APIKey{}, ErrKeyNotFound
	}
	if err != nil {
		return APIKey{}, fmt.Errorf("read API key: %w", err)
	}
	return k, nil
}

// Keys are keys of the instance, oldest first, limit at most: those that come after the one with this creation time and id.
// The zero time and an empty id begin at the oldest.
func (s *Store) Keys(ctx context.Context, instance string, after time.Time, afterID string, limit int) ([]APIKey, error) {
	var created int64
	if !after.IsZero() {
		created = sqldb.Micros(after)
	}
	rows, err := s.db.Reader().QueryContext(ctx, `
		SELECT `+keyColumns+` FROM api_key
		WHERE instance = $1 AND (create_time, id) > ($2, $3)
		ORDER BY create_time, id LIMIT $4`, instance, created, afterID, limit)
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var found []APIKey
	for rows.Next() {
		k, err := scanKey(rows)
		if err != nil {
			return nil, fmt.Errorf("list API keys: %w", err)
		}
		found = append(found, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	return found, nil
}

// DeleteKey ends a key of the instance, and forgets what it has used, or fails with ErrKeyNotFound.
func (s *Store) DeleteKey(ctx context.Context, instance, id string) error {
	return s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		result, err := tx.ExecContext(ctx, `DELETE FROM api_key WHERE instance = $1 AND id = $2`, instance, id)
		if err != nil {
			return fmt.Errorf("delete API key: %w", err)
		}
		deleted, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("delete API key: %w", err)
		}
		if deleted == 0 {
			return ErrKeyNotFound
		}
		// Calls in the seconds for which other services still know the key may leave a row behind, which does no harm.
		if _, err := tx.ExecContext(ctx, `DELETE FROM key_usage WHERE instance = $1 AND key_id = $2`, instance, id); err != nil {
			return fmt.Errorf("delete counts of API key: %w", err)
		}
		return nil
	})
}

// KeyUse says when a key was used.
type KeyUse struct {
	Instance, ID string
	Time         time.Time
}

// RecordUses stores when keys were last used, all in one transaction. An earlier time than the stored one, and a key that is
// gone, change nothing. The uses should be sorted, so that two replicas lock keys in the same order.
func (s *Store) RecordUses(ctx context.Context, uses []KeyUse) error {
	return s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		for _, use := range uses {
			_, err := tx.ExecContext(ctx, `
				UPDATE api_key SET last_use_time = $3
				WHERE instance = $1 AND id = $2 AND (last_use_time IS NULL OR last_use_time < $3)`,
				use.Instance, use.ID, sqldb.Micros(use.Time))
			if err != nil {
				return fmt.Errorf("record use of API key: %w", err)
			}
		}
		return nil
	})
}

func scanKey(row scanner) (APIKey, error) {
	var k APIKey
	var scopes string
	var expires, used sql.NullInt64
	var created int64
	err := row.Scan(&k.Instance, &k.ID, &k.DisplayName, &scopes, &k.SecretHash, &expires, &used, &created)
	if err != nil {
		return APIKey{}, err
	}
	k.Scopes = strings.Fields(scopes)
	k.ExpireTime, k.LastUseTime = sqldb.NullTime(expires), sqldb.NullTime(used)
	k.CreateTime = sqldb.Time(created)
	return k, nil
}

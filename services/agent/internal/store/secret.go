package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// ErrFull says that the instance has as many as it may have. Nothing was stored.
var ErrFull = errors.New("the limit is reached")

// Secret is a secret without its value.
type Secret struct {
	Name                   string
	CreateTime, UpdateTime time.Time
}

// lockSecrets makes those wait that change the secrets of the same instance at the same time.
const lockSecrets = `
INSERT INTO secret_count (instance, secrets) VALUES ($1, 0)
ON CONFLICT (instance) DO UPDATE SET secrets = secret_count.secrets
RETURNING secrets`

const countSecrets = `UPDATE secret_count SET secrets = secrets + $2 WHERE instance = $1`

const updateSecret = `UPDATE secret SET sealed = $3, update_time = $4 WHERE instance = $1 AND name = $2 RETURNING create_time`

const insertSecret = `INSERT INTO secret (instance, name, sealed, create_time, update_time) VALUES ($1, $2, $3, $4, $4)`

// SetSecret makes a secret, or gives it another value, and returns it as stored. ErrFull when it would be one more than limit.
func (s *Store) SetSecret(ctx context.Context, instance, name string, sealed []byte, limit int, now time.Time) (*Secret, error) {
	var stored *Secret
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		at := sqldb.Micros(now)
		var count int
		if err := tx.QueryRowContext(ctx, lockSecrets, instance).Scan(&count); err != nil {
			return fmt.Errorf("lock secrets: %w", err)
		}
		created := at
		err := tx.QueryRowContext(ctx, updateSecret, instance, name, sealed, at).Scan(&created)
		if err != nil && !sqldb.IsNoRows(err) {
			return fmt.Errorf("update secret: %w", err)
		}
		if sqldb.IsNoRows(err) {
			if count >= limit {
				return ErrFull
			}
			if _, err := tx.ExecContext(ctx, insertSecret, instance, name, sealed, at); err != nil {
				return fmt.Errorf("insert secret: %w", err)
			}
			if _, err := tx.ExecContext(ctx, countSecrets, instance, 1); err != nil {
				return fmt.Errorf("count secrets: %w", err)
			}
		}
		stored = &Secret{Name: name, CreateTime: sqldb.Time(created), UpdateTime: sqldb.Time(at)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return stored, nil
}

const deleteSecret = `DELETE FROM secret WHERE instance = $1 AND name = $2`

// DeleteSecret forgets a secret. ErrNotFound when there is none.
func (s *Store) DeleteSecret(ctx context.Context, instance, name string) error {
	return s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var count int
		if err := tx.QueryRowContext(ctx, lockSecrets, instance).Scan(&count); err != nil {
			return fmt.Errorf("lock secrets: %w", err)
		}
		result, err := tx.ExecContext(ctx, deleteSecret, instance, name)
		if err != nil {
			return fmt.Errorf("delete secret: %w", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("delete secret: %w", err)
		}
		if n == 0 {
			return ErrNotFound
		}
		if _, err := tx.ExecContext(ctx, countSecrets, instance, -1); err != nil {
			return fmt.Errorf("count secrets: %w", err)
		}
		return nil
	})
}

const getSecret = `SELECT sealed FROM secret WHERE instance = $1 AND name = $2`

// SealedSecret returns the sealed value of a secret.
func (s *Store) SealedSecret(ctx context.Context, instance, name string) ([]byte, error) {
	var sealed []byte
	err := s.db.Reader().QueryRowContext(ctx, getSecret, instance, name).Scan(&sealed)
	if sqldb.IsNoRows(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	return sealed, nil
}

const listSecrets = `SELECT name, create_time, update_time FROM secret WHERE instance = $1 AND name > $2 ORDER BY name LIMIT $3`

// ListSecrets returns up to limit secrets with names behind after, in the order of their bytes.
func (s *Store) ListSecrets(ctx context.Context, instance, after string, limit int) ([]Secret, error) {
	rows, err := s.db.Reader().QueryContext(ctx, listSecrets, instance, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	defer rows.Close()
	var secrets []Secret
	for rows.Next() {
		var one Secret
		var created, updated int64
		if err := rows.Scan(&one.Name, &created, &updated); err != nil {
			return nil, fmt.Errorf("list secrets: %w", err)
		}
		one.CreateTime, one.UpdateTime = sqldb.Time(created), sqldb.Time(updated)
		secrets = append(secrets, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return secrets, nil
}

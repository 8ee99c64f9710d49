package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Instance is a tenant. Times and durations are kept to the microsecond.
type Instance struct {
	Slug              string
	DisplayName       string
	TimeZone          string
	InactivityTimeout time.Duration
	// Retention is how long finished attendances are kept; 0 is for ever.
	Retention  time.Duration
	CreateTime time.Time
	UpdateTime time.Time
}

// InstanceChange says what to change of an instance; nil fields stay.
type InstanceChange struct {
	DisplayName       *string
	TimeZone          *string
	InactivityTimeout *time.Duration
	Retention         *time.Duration // 0 is for ever
	UpdateTime        time.Time
}

const instanceColumns = `instance, display_name, time_zone, inactivity_timeout, retention, create_time, update_time`

// CreateInstance stores a new instance, or fails with ErrInstanceExists.
func (t *Tx) CreateInstance(ctx context.Context, i Instance) error {
	result, err := t.tx.ExecContext(ctx, `
		INSERT INTO instance (`+instanceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (instance) DO NOTHING`,
		i.Slug, i.DisplayName, i.TimeZone, i.InactivityTimeout.Microseconds(), nullDuration(i.Retention),
		sqldb.Micros(i.CreateTime), sqldb.Micros(i.UpdateTime))
	if err != nil {
		return fmt.Errorf("insert instance: %w", err)
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("insert instance: %w", err)
	}
	if inserted == 0 {
		return ErrInstanceExists
	}
	return nil
}

// Instance is the instance with this slug, or ErrInstanceNotFound.
func (s *Store) Instance(ctx context.Context, slug string) (Instance, error) {
	i, err := scanInstance(s.db.Reader().QueryRowContext(ctx, `
		SELECT `+instanceColumns+` FROM instance WHERE instance = $1`, slug))
	if sqldb.IsNoRows(err) {
		return Instance{}, ErrInstanceNotFound
	}
	if err != nil {
		return Instance{}, fmt.Errorf("read instance: %w", err)
	}
	return i, nil
}

// Instances are the instances whose slugs come after the given one, in the order of their slugs, limit at most.
func (s *Store) Instances(ctx context.Context, after string, limit int) (_ []Instance, err error) {
	rows, err := s.db.Reader().QueryContext(ctx, `
		SELECT `+instanceColumns+` FROM instance WHERE instance > $1 ORDER BY instance LIMIT $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var found []Instance
	for rows.Next() {
		i, err := scanInstance(rows)
		if err != nil {
			return nil, fmt.Errorf("list instances: %w", err)
		}
		found = append(found, i)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	return found, nil
}

// ChangeInstance changes an instance and returns it as it is then, or ErrInstanceNotFound.
func (s *Store) ChangeInstance(ctx context.Context, slug string, c InstanceChange) (Instance, error) {
	var changed Instance
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var err error
		changed, err = scanInstance(tx.QueryRowContext(ctx, `
			UPDATE instance SET
				display_name       = CASE WHEN $2 THEN $3 ELSE display_name END,
				time_zone          = CASE WHEN $4 THEN $5 ELSE time_zone END,
				inactivity_timeout = CASE WHEN $6 THEN CAST($7 AS BIGINT) ELSE inactivity_timeout END,
				retention          = CASE WHEN $8 THEN CAST($9 AS BIGINT) ELSE retention END,
				update_time        = $10
			WHERE instance = $1
			RETURNING `+instanceColumns,
			slug,
			c.DisplayName != nil, orZero(c.DisplayName),
			c.TimeZone != nil, orZero(c.TimeZone),
			c.InactivityTimeout != nil, orZero(c.InactivityTimeout).Microseconds(),
			c.Retention != nil, nullDuration(orZero(c.Retention)),
			sqldb.Micros(c.UpdateTime)))
		if sqldb.IsNoRows(err) {
			return ErrInstanceNotFound
		}
		if err != nil {
			return fmt.Errorf("change instance: %w", err)
		}
		return nil
	})
	return changed, err
}

// scanner is one row, alone or of several.
type scanner interface{ Scan(dest ...any) error }

func scanInstance(row scanner) (Instance, error) {
	var i Instance
	var timeout, created, updated int64
	var retention sql.NullInt64
	if err := row.Scan(&i.Slug, &i.DisplayName, &i.TimeZone, &timeout, &retention, &created, &updated); err != nil {
		return Instance{}, err
	}
	i.InactivityTimeout = micros(timeout)
	i.Retention = micros(retention.Int64)
	i.CreateTime, i.UpdateTime = sqldb.Time(created), sqldb.Time(updated)
	return i, nil
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func nullDuration(d time.Duration) sql.NullInt64 {
	return sql.NullInt64{Int64: d.Microseconds(), Valid: d != 0}
}

func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

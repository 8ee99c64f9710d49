package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Published is a version without its definition.
type Published struct {
	Number     int32
	CreateTime time.Time
}

const listVersions = `SELECT version, create_time FROM agent_version
WHERE instance = $1 AND agent_id = $2 AND version < $3 ORDER BY version DESC LIMIT $4`

// ListVersions returns up to limit versions of an agent with numbers under before, newest first.
func (s *Store) ListVersions(ctx context.Context, instance, agentID string, before int64, limit int) ([]Published, error) {
	rows, err := s.db.Reader().QueryContext(ctx, listVersions, instance, agentID, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list versions: %w", err)
	}
	defer rows.Close()
	var versions []Published
	for rows.Next() {
		var one Published
		var created int64
		if err := rows.Scan(&one.Number, &created); err != nil {
			return nil, fmt.Errorf("list versions: %w", err)
		}
		one.CreateTime = sqldb.Time(created)
		versions = append(versions, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list versions: %w", err)
	}
	return versions, nil
}

const getVersion = `SELECT source_format, source, definition, create_time FROM agent_version WHERE instance = $1 AND agent_id = $2 AND version = $3`

// Version returns a version, and when it was published. Its DisplayName and Description are empty: they are in the definition.
func (s *Store) Version(ctx context.Context, instance, agentID string, number int32) (Version, time.Time, error) {
	var v Version
	var format string
	var created int64
	err := s.db.Reader().QueryRowContext(ctx, getVersion, instance, agentID, number).Scan(&format, &v.Source, &v.Definition, &created)
	if sqldb.IsNoRows(err) {
		return Version{}, time.Time{}, ErrNotFound
	}
	if err != nil {
		return Version{}, time.Time{}, fmt.Errorf("read version: %w", err)
	}
	v.Format = Format(format)
	return v, sqldb.Time(created), nil
}

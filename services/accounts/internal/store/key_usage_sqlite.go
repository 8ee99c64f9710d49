package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Ledger keeps in SQLite what the one process that owns the file has counted.
type Ledger struct{ db *sqldb.DB }

var _ quota.Ledger = (*Ledger)(nil)

// NewLedger returns the ledger in an open SQLite store.
func NewLedger(db *sqldb.DB) *Ledger { return &Ledger{db: db} }

// Load gives the entries of the subjects.
func (l *Ledger) Load(ctx context.Context, subjects []quota.Subject) ([]quota.Entry, error) {
	entries := make([]quota.Entry, len(subjects))
	for i, s := range subjects {
		entries[i].Subject = s
		var last sql.NullInt64
		err := l.db.Reader().QueryRowContext(ctx, `
			SELECT day, used, last_time FROM key_usage WHERE instance = $1 AND key_id = $2 AND kind = $3`,
			s.Instance, s.Key, s.Kind).Scan(&entries[i].Day, &entries[i].Used, &last)
		if err != nil && !sqldb.IsNoRows(err) {
			return nil, fmt.Errorf("read counts of calls: %w", err)
		}
		entries[i].Last = sqldb.NullTime(last)
	}
	return entries, nil
}

// Save puts the entries in the place of those that were there.
func (l *Ledger) Save(ctx context.Context, entries []quota.Entry) error {
	return l.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		for _, e := range entries {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO key_usage (instance, key_id, kind, day, used, last_time) VALUES ($1, $2, $3, $4, $5, $6)
				ON CONFLICT (instance, key_id, kind) DO UPDATE
				SET day = excluded.day, used = excluded.used, last_time = excluded.last_time`,
				e.Instance, e.Key, e.Kind, e.Day, e.Used, sqldb.NullMicros(e.Last))
			if err != nil {
				return fmt.Errorf("write count of calls: %w", err)
			}
		}
		return nil
	})
}

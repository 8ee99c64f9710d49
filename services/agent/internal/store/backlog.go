package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const countRecords = `
SELECT (SELECT count(*) FROM (SELECT 1 AS one FROM pending_record LIMIT $1) AS p), (
    SELECT min(t.create_time) FROM (SELECT instance, turn_id FROM pending_record LIMIT $2) AS p
    JOIN turn t ON t.instance = p.instance AND t.id = p.turn_id
)`

// maxAged is among how many the oldest is looked for. Where more wait their number is alarming enough.
const maxAged = 10_000

// CountRecords counts the pending records, and stops at limit. Oldest is when the first of their turns was made; zero if there is none.
// Where 10,000 wait it is that of some of them.
func (s *Store) CountRecords(ctx context.Context, limit int) (count int, oldest time.Time, err error) {
	var first sql.NullInt64
	if err := s.db.Reader().QueryRowContext(ctx, countRecords, limit, maxAged).Scan(&count, &first); err != nil {
		return 0, time.Time{}, fmt.Errorf("count pending records: %w", err)
	}
	return count, sqldb.NullTime(first), nil
}

// OldestUnindexed is when the first turn was made that waits for the search index; zero if none does. Where 10,000 wait
// it is that of some of them.
func (s *Store) OldestUnindexed(ctx context.Context) (time.Time, error) {
	var first sql.NullInt64
	if err := s.db.Reader().QueryRowContext(ctx, s.dialect.index.oldest(), maxAged).Scan(&first); err != nil {
		return time.Time{}, fmt.Errorf("read oldest turn outside the index: %w", err)
	}
	return sqldb.NullTime(first), nil
}

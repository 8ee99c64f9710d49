package store

import (
	"context"
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// The things that are numbered within an instance.
const (
	countAttendance = "attendance"
	countEvent      = "event"
	countEventType  = "event_type"
)

// takeNumbers gives the next n numbers of a kind, and returns the last of them. Until the transaction ends nobody else gets numbers
// of this kind in this instance, so numbers become visible in their order: whoever has seen one has seen all before it. With an n of
// 0 it only waits its turn.
func takeNumbers(ctx context.Context, tx sqldb.Tx, instance, kind string, n int) (int64, error) {
	var last int64
	err := tx.QueryRowContext(ctx, `
		INSERT INTO counter (instance, name, value, live) VALUES ($1, $2, $3, $4)
		ON CONFLICT (instance, name) DO UPDATE SET value = counter.value + excluded.value, live = counter.live + excluded.live
		RETURNING value`, instance, kind, n, n).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("take numbers of %s: %w", kind, err)
	}
	return last, nil
}

// Attendances says which number of the instance's attendances is the last, and how many there are. Both are 0 for an instance that
// has none.
func (s *Store) Attendances(ctx context.Context, instance string) (last, count int64, err error) {
	return s.numbers(ctx, instance, countAttendance)
}

// EventNumbers says the same of the instance's events.
func (s *Store) EventNumbers(ctx context.Context, instance string) (last, count int64, err error) {
	return s.numbers(ctx, instance, countEvent)
}

func (s *Store) numbers(ctx context.Context, instance, kind string) (last, count int64, err error) {
	err = s.db.Reader().QueryRowContext(ctx, `SELECT value, live FROM counter WHERE instance = $1 AND name = $2`,
		instance, kind).Scan(&last, &count)
	if sqldb.IsNoRows(err) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read counter of %s: %w", kind, err)
	}
	return last, count, nil
}

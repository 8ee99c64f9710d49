package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Sizes of one batch of cancelling: short enough that other writers hardly wait.
const (
	cancelQueues  = 32
	cancelEntries = 500
)

// Deleted is a channel or integration that was deleted and may have left things
// behind.
type Deleted struct {
	Endpoint
	DeleteTime time.Time
}

// Unreaped lists deleted channels and integrations whose work is not known to be
// cancelled.
func (s *Store) Unreaped(ctx context.Context, limit int) ([]Deleted, error) {
	type row struct {
		Deleted
		deleted int64
	}
	rows, err := s.db.Reader().QueryContext(ctx, `
SELECT instance, id, delete_time FROM channel WHERE delete_time IS NOT NULL AND reap_time IS NULL
UNION ALL
SELECT instance, id, delete_time FROM bot_api WHERE delete_time IS NOT NULL AND reap_time IS NULL
ORDER BY delete_time LIMIT $1`, limit)
	found, err := collect(rows, err, func(r *row) []any { return []any{&r.Instance, &r.ID, &r.deleted} })
	if err != nil {
		return nil, fmt.Errorf("list deleted channels: %w", err)
	}
	all := make([]Deleted, len(found))
	for i := range found {
		all[i] = found[i].Deleted
		all[i].DeleteTime = sqldb.Time(found[i].deleted)
	}
	return all, nil
}

// MarkReaped notes that nothing of a deleted channel or integration is left.
func (s *Store) MarkReaped(ctx context.Context, e Endpoint, now time.Time) error {
	return s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE channel SET reap_time = $3 WHERE instance = $1 AND id = $2 AND delete_time IS NOT NULL`,
			e.Instance, e.ID, sqldb.Micros(now))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE bot_api SET reap_time = $3 WHERE instance = $1 AND id = $2 AND delete_time IS NOT NULL`,
			e.Instance, e.ID, sqldb.Micros(now))
		return err
	})
}

// CancelThreads gives up messages of a deleted channel in one short batch, and
// returns how many; done says that none is left. Turns in progress lose their lease.
func (s *Store) CancelThreads(ctx context.Context, e Endpoint) (cancelled int64, done bool, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		cancelled, done = 0, false
		rows, err := tx.QueryContext(ctx, `
SELECT client_identifier, done_seq, last_seq FROM thread
WHERE instance = $1 AND channel_id = $2 AND done_seq < last_seq LIMIT $3`, e.Instance, e.ID, cancelQueues)
		threads, err := collect(rows, err, func(r *queueRow) []any { return []any{&r.name, &r.done, &r.last} })
		if err != nil {
			return err
		}
		for _, t := range threads {
			// Another message may have come since; the next batch sees it.
			result, err := tx.ExecContext(ctx, `
UPDATE thread SET done_seq = $5, epoch = epoch + 1, lease_until = 0, failures = 0, strikes = 0
WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND done_seq = $4 AND last_seq >= $5`,
				e.Instance, e.ID, t.name, t.done, t.last)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			cancelled += n * (t.last - t.done)
		}
		done = len(threads) == 0
		return nil
	})
	if err != nil {
		return 0, false, fmt.Errorf("cancel messages: %w", err)
	}
	return cancelled, done, nil
}

// CancelLanes cancels pending deliveries of a deleted channel in one short
// batch, and returns how many; done says that none is left. Attempts in
// progress lose their lease.
func (s *Store) CancelLanes(ctx context.Context, e Endpoint, now time.Time) (cancelled int64, done bool, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		cancelled, done = 0, false
		rows, err := tx.QueryContext(ctx, `
SELECT interaction_id, settled_seq, last_seq FROM lane
WHERE instance = $1 AND endpoint_id = $2 AND settled_seq < last_seq LIMIT $3`, e.Instance, e.ID, cancelQueues)
		lanes, err := collect(rows, err, func(r *queueRow) []any { return []any{&r.name, &r.done, &r.last} })
		if err != nil {
			return err
		}
		for _, l := range lanes {
			n, err := cancelLane(ctx, tx, e, l, now)
			if err != nil {
				return err
			}
			cancelled += n
			if cancelled >= cancelEntries {
				break
			}
		}
		done = len(lanes) == 0
		return nil
	})
	if err != nil {
		return 0, false, fmt.Errorf("cancel deliveries: %w", err)
	}
	return cancelled, done, nil
}

// queueRow is a thread or lane: its name within the channel and its numbers.
type queueRow struct {
	name       string
	done, last int64
}

func cancelLane(ctx context.Context, tx sqldb.Tx, e Endpoint, l queueRow, now time.Time) (int64, error) {
	upTo := min(l.last, l.done+cancelEntries)
	result, err := tx.ExecContext(ctx, `
UPDATE lane SET settled_seq = $5, epoch = epoch + 1, lease_until = 0, next_time = $6
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND settled_seq = $4 AND last_seq >= $5`,
		e.Instance, e.ID, l.name, l.done, upTo, sqldb.Micros(now))
	if err != nil {
		return 0, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return 0, err // somebody settled one in between; the next batch takes the rest
	}
	result, err = tx.ExecContext(ctx, `
UPDATE delivery SET state = 'CANCELLED', settle_time = $6
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence > $4 AND sequence <= $5 AND state = 'PENDING'`,
		e.Instance, e.ID, l.name, l.done, upTo, sqldb.Micros(now))
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

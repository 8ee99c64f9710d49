package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// These go, as those that list what is ready, from one instance or endpoint to
// the next in the index of what is pending, and of each only look at what is
// next due before a time, which is that of the leases: not at what is due
// already, nor at what waits for later.
const (
	voidThreadsOfSQL = `
WITH RECURSIVE pending (instance) AS (
    SELECT min(instance) FROM thread WHERE done_seq < last_seq
    UNION ALL
    SELECT (SELECT min(t.instance) FROM thread AS t WHERE t.done_seq < t.last_seq AND t.instance > pending.instance)
    FROM pending WHERE pending.instance IS NOT NULL)
UPDATE thread SET epoch = thread.epoch + 1, lease_until = 0, failures = thread.failures + 1,
    next_time = $2 + 1000000 * LEAST(thread.failures, $4) FROM pending
WHERE thread.instance = pending.instance AND thread.done_seq < thread.last_seq AND thread.next_time > $2 AND thread.next_time <= $3
    AND thread.lease_until > 0 AND thread.holder = $1`

	voidLanesOfSQL = `
WITH RECURSIVE pending (endpoint_id) AS (
    SELECT min(endpoint_id) FROM lane WHERE settled_seq < last_seq
    UNION ALL
    SELECT (SELECT min(l.endpoint_id) FROM lane AS l WHERE l.settled_seq < l.last_seq AND l.endpoint_id > pending.endpoint_id)
    FROM pending WHERE pending.endpoint_id IS NOT NULL)
UPDATE lane SET epoch = lane.epoch + 1, lease_until = 0, next_time = $2 FROM pending
WHERE lane.endpoint_id = pending.endpoint_id AND lane.settled_seq < lane.last_seq AND lane.next_time > $2 AND lane.next_time <= $3
    AND lane.lease_until > 0 AND lane.holder = $1`

	voidRedeliveriesOfSQL = `
WITH RECURSIVE pending (endpoint_id) AS (
    SELECT min(endpoint_id) FROM redelivery_lane WHERE waiting > 0
    UNION ALL
    SELECT (SELECT min(l.endpoint_id) FROM redelivery_lane AS l WHERE l.waiting > 0 AND l.endpoint_id > pending.endpoint_id)
    FROM pending WHERE pending.endpoint_id IS NOT NULL)
UPDATE redelivery_lane AS r SET epoch = r.epoch + 1, lease_until = 0, next_time = $2 FROM pending
WHERE r.endpoint_id = pending.endpoint_id AND r.waiting > 0 AND r.next_time > $2 AND r.next_time <= $3
    AND r.lease_until > 0 AND r.holder = $1`

	// longestGrudge is how long, in seconds, a thread waits at most whose
	// process died.
	longestGrudge = 15
)

// VoidLeasesOf takes back, in a transaction, the leases that name a token and
// end before a time: they are due now, and their holder can write nothing under
// them any more. A thread whose head has failed before, or died with its process,
// waits a second for each time, so that a message which kills the process does
// not kill one after the other. Only PostgreSQL has such leases.
func (s *Store) VoidLeasesOf(ctx context.Context, tx sqldb.Tx, token int64, now, until time.Time) error {
	if token == 0 || s.Exclusive() {
		return nil
	}
	if _, err := tx.ExecContext(ctx, voidThreadsOfSQL, token, sqldb.Micros(now), sqldb.Micros(until), longestGrudge); err != nil {
		return fmt.Errorf("take back threads: %w", err)
	}
	for _, query := range []string{voidLanesOfSQL, voidRedeliveriesOfSQL} {
		if _, err := tx.ExecContext(ctx, query, token, sqldb.Micros(now), sqldb.Micros(until)); err != nil {
			return fmt.Errorf("take back lanes: %w", err)
		}
	}
	return nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Redelivery is what is to be sent again of one conversation to one endpoint,
// held by the caller.
type Redelivery struct {
	LaneKey
	// Epoch is that of the lease.
	Epoch int64
}

const redeliveryColumns = `instance, endpoint_id, interaction_id, epoch`

func (r *Redelivery) targets() []any {
	return []any{&r.Instance, &r.EndpointID, &r.InteractionID, &r.Epoch}
}

const readyRedeliveriesSQL = `
WITH RECURSIVE pending (endpoint_id) AS (
    SELECT min(endpoint_id) FROM redelivery_lane WHERE waiting > 0
    UNION ALL
    SELECT (SELECT min(l.endpoint_id) FROM redelivery_lane AS l WHERE l.waiting > 0 AND l.endpoint_id > pending.endpoint_id)
    FROM pending WHERE pending.endpoint_id IS NOT NULL)
SELECT COALESCE(channel.instance, bot_api.instance), pending.endpoint_id FROM pending
LEFT JOIN channel ON channel.id = pending.endpoint_id AND channel.state = 'ACTIVE' AND channel.delete_time IS NULL
LEFT JOIN bot_api ON bot_api.id = pending.endpoint_id AND bot_api.state = 'ACTIVE' AND bot_api.delete_time IS NULL
    AND bot_api.callback_url <> ''
WHERE (channel.id IS NOT NULL OR bot_api.id IS NOT NULL) AND EXISTS (
    SELECT 1 FROM redelivery_lane AS l
    WHERE l.endpoint_id = pending.endpoint_id AND l.waiting > 0 AND l.next_time <= $1)`

// ReadyRedeliveries lists the active endpoints that have something to be sent
// again that is due. It costs as little as [Store.ReadyEndpoints].
func (s *Store) ReadyRedeliveries(ctx context.Context, now time.Time) ([]Endpoint, error) {
	rows, err := s.db.Reader().QueryContext(ctx, readyRedeliveriesSQL, sqldb.Micros(now))
	endpoints, err := collect(rows, err, func(e *Endpoint) []any { return []any{&e.Instance, &e.ID} })
	if err != nil {
		return nil, fmt.Errorf("list endpoints to send to again: %w", err)
	}
	return endpoints, nil
}

// ClaimRedeliveries takes what is to be sent again and due, that which waits
// longest first, until the given time: of each endpoint at most its limit of
// conversations.
func (s *Store) ClaimRedeliveries(ctx context.Context, claims []Claim, now, until time.Time) ([]Redelivery, error) {
	var all []Redelivery
	err := s.pool.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		all = all[:0]
		for _, claim := range claims {
			args := append([]any{claim.Instance, claim.ID, sqldb.Micros(now), sqldb.Micros(until), claim.Limit}, s.dialect.holder()...)
			rows, err := tx.QueryContext(ctx, s.dialect.claimRedeliveries(), args...)
			taken, err := collect(rows, err, (*Redelivery).targets)
			if err != nil {
				return err
			}
			all = append(all, taken...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim redeliveries: %w", err)
	}
	return all, nil
}

const nextRedeliverySQL = `
SELECT ` + deliveryColumns + ` FROM delivery
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND state = 'PENDING' AND sequence = (
    SELECT min(sequence) FROM redelivery WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3)`

// NextRedelivery reads the delivery of a conversation that is to be sent again
// first, the one with the lowest sequence; ok is false if there is none. Its
// AttemptCount is that since it was asked for, its Attempts are all.
func (s *Store) NextRedelivery(ctx context.Context, key LaneKey) (d Delivery, ok bool, err error) {
	rows, err := s.db.Reader().QueryContext(ctx, nextRedeliverySQL, key.Instance, key.EndpointID, key.InteractionID)
	found, err := collect(rows, err, (*deliveryRow).targets)
	if err != nil {
		return Delivery{}, false, fmt.Errorf("read delivery to send again: %w", err)
	}
	if len(found) == 0 {
		return Delivery{}, false, nil
	}
	return found[0].delivery(key), true, nil
}

const (
	settleRedeliveryLaneSQL = `
UPDATE redelivery_lane SET waiting = waiting - 1, lease_until = CASE WHEN waiting = 1 THEN 0 ELSE lease_until END
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND epoch = $4 AND lease_until > 0 AND EXISTS (
    SELECT 1 FROM redelivery AS r
    WHERE r.instance = $1 AND r.endpoint_id = $2 AND r.interaction_id = $3 AND r.sequence = $5)
RETURNING waiting`
	deleteRedeliverySQL = `
DELETE FROM redelivery WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence = $4`
	retryRedeliveryLaneSQL = `
UPDATE redelivery_lane SET lease_until = 0, next_time = $5
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND epoch = $4 AND lease_until > 0`
	redeliveryWaitsSQL = `
SELECT 1 FROM redelivery WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence = $4`
)

// SettleRedelivery ends a delivery that was sent again as d says: State
// (Delivered or Dead), AttemptCount and Attempts. More is true if there are
// further ones of the conversation; the caller still holds it. Otherwise the
// lease has ended.
func (s *Store) SettleRedelivery(ctx context.Context, d *Delivery, epoch int64, now time.Time) (more bool, err error) {
	err = s.pool.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var waiting int64
		err := tx.QueryRowContext(ctx, settleRedeliveryLaneSQL, d.Instance, d.EndpointID, d.InteractionID, epoch, d.Sequence).Scan(&waiting)
		if err != nil {
			return leased(err)
		}
		more = waiting > 0
		_, err = tx.ExecContext(ctx, deleteRedeliverySQL, d.Instance, d.EndpointID, d.InteractionID, d.Sequence)
		if err != nil {
			return err
		}
		return writeAttempts(ctx, tx, d, sql.NullInt64{Int64: sqldb.Micros(now), Valid: true})
	})
	if err != nil {
		return false, fmt.Errorf("settle redelivery: %w", err)
	}
	return more, nil
}

// RetryRedelivery records a failed attempt at a delivery that is sent again and
// ends the lease; the conversation is due again at next.
func (s *Store) RetryRedelivery(ctx context.Context, d *Delivery, epoch int64, next time.Time) error {
	err := s.pool.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		err := changed(tx.ExecContext(ctx, retryRedeliveryLaneSQL, d.Instance, d.EndpointID, d.InteractionID, epoch, sqldb.Micros(next)))
		if err != nil {
			return err
		}
		var one int
		err = tx.QueryRowContext(ctx, redeliveryWaitsSQL, d.Instance, d.EndpointID, d.InteractionID, d.Sequence).Scan(&one)
		if err != nil {
			return leased(err)
		}
		return writeAttempts(ctx, tx, d, sql.NullInt64{})
	})
	if err != nil {
		return fmt.Errorf("put redelivery off: %w", err)
	}
	return nil
}

// ReleaseRedelivery ends the lease without a result; it is due at once.
func (s *Store) ReleaseRedelivery(ctx context.Context, key LaneKey, epoch int64, now time.Time) error {
	return changed(s.pool.Exec1(ctx, retryRedeliveryLaneSQL, key.Instance, key.EndpointID, key.InteractionID, epoch, sqldb.Micros(now)))
}

// RenewRedelivery makes the lease last until the given time.
func (s *Store) RenewRedelivery(ctx context.Context, key LaneKey, epoch int64, until time.Time) error {
	return changed(s.pool.Exec1(ctx, `
UPDATE redelivery_lane SET lease_until = $5, next_time = $5
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND epoch = $4 AND lease_until > 0`,
		key.Instance, key.EndpointID, key.InteractionID, epoch, sqldb.Micros(until)))
}

const cancelRedeliveryEntriesSQL = `
DELETE FROM redelivery
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence IN (
    SELECT sequence FROM redelivery
    WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 ORDER BY sequence LIMIT $4)
RETURNING sequence`

// CancelRedeliveries cancels deliveries of a deleted endpoint that are to be
// sent again, as CancelLanes does with the others.
func (s *Store) CancelRedeliveries(ctx context.Context, e Endpoint, now time.Time) (cancelled int64, done bool, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		cancelled, done = 0, false
		rows, err := tx.QueryContext(ctx, `
SELECT interaction_id FROM redelivery_lane WHERE instance = $1 AND endpoint_id = $2 AND waiting > 0 LIMIT $3`,
			e.Instance, e.ID, cancelQueues)
		names, err := collect(rows, err, func(name *string) []any { return []any{name} })
		if err != nil {
			return err
		}
		for _, name := range names {
			n, err := cancelRedelivery(ctx, tx, LaneKey{Instance: e.Instance, EndpointID: e.ID, InteractionID: name}, now)
			if err != nil {
				return err
			}
			cancelled += n
			if cancelled >= cancelEntries {
				break
			}
		}
		done = len(names) == 0
		return nil
	})
	if err != nil {
		return 0, false, fmt.Errorf("cancel redeliveries: %w", err)
	}
	return cancelled, done, nil
}

// cancelRedelivery takes the lease away first: on PostgreSQL that locks the row,
// so that nothing is added or settled meanwhile.
func cancelRedelivery(ctx context.Context, tx sqldb.Tx, key LaneKey, now time.Time) (int64, error) {
	_, err := tx.ExecContext(ctx, `
UPDATE redelivery_lane SET epoch = epoch + 1, lease_until = 0, next_time = $4
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3`, key.Instance, key.EndpointID, key.InteractionID, sqldb.Micros(now))
	if err != nil {
		return 0, err
	}
	rows, err := tx.QueryContext(ctx, cancelRedeliveryEntriesSQL, key.Instance, key.EndpointID, key.InteractionID, cancelEntries)
	sequences, err := collect(rows, err, func(n *int64) []any { return []any{n} })
	if err != nil || len(sequences) == 0 {
		return 0, err
	}
	var last int64
	for _, n := range sequences {
		last = max(last, n)
	}
	_, err = tx.ExecContext(ctx, `
UPDATE redelivery_lane SET waiting = waiting - $4 WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3`,
		key.Instance, key.EndpointID, key.InteractionID, len(sequences))
	if err != nil {
		return 0, err
	}
	// What is PENDING up to there is to be sent again: the others are behind all that was settled once.
	_, err = tx.ExecContext(ctx, `
UPDATE delivery SET state = 'CANCELLED', settle_time = $5
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence <= $4 AND state = 'PENDING'`,
		key.Instance, key.EndpointID, key.InteractionID, last, sqldb.Micros(now))
	return int64(len(sequences)), err
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// DeliveryState says what became of a delivery.
type DeliveryState string

// The states of a delivery.
const (
	Pending   DeliveryState = "PENDING"
	Delivered DeliveryState = "DELIVERED"
	Dead      DeliveryState = "DEAD"
	Cancelled DeliveryState = "CANCELLED"
)

// Delivery is one message on its way to one endpoint.
type Delivery struct {
	LaneKey
	// Sequence counts the deliveries of the lane from 1, without a gap.
	Sequence  int64
	ID        string
	ContactID string
	Body      []byte
	State     DeliveryState
	// AttemptCount is how many attempts failed or succeeded, since it was put
	// back if it ever was (see [Store.SendAgain]); interrupted ones do not count.
	AttemptCount int
	// Attempts is a JSON list of them, nil before the first.
	Attempts   []byte
	CreateTime time.Time
	SettleTime time.Time // zero while it is pending
	// Trace is the traceparent of the turn that made it; "" if nobody traces it.
	Trace string
}

const deliveryColumns = `sequence, id, contact_id, body, state, attempt_count, attempts, create_time, settle_time, COALESCE(trace, '')`

type deliveryRow struct {
	Delivery
	attempts sql.NullString
	created  int64
	settled  sql.NullInt64
}

func (r *deliveryRow) targets() []any {
	return []any{&r.Sequence, &r.ID, &r.ContactID, &r.Body, &r.State, &r.AttemptCount, &r.attempts, &r.created, &r.settled, &r.Trace}
}

func (r *deliveryRow) delivery(key LaneKey) Delivery {
	r.LaneKey, r.CreateTime, r.SettleTime = key, sqldb.Time(r.created), sqldb.NullTime(r.settled)
	if r.attempts.Valid {
		r.Attempts = []byte(r.attempts.String)
	}
	return r.Delivery
}

const pendingDeliveriesSQL = `
SELECT ` + deliveryColumns + ` FROM delivery
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence > $4 AND state = 'PENDING'
ORDER BY sequence LIMIT CAST($5 AS BIGINT) + 0`

// Deliveries reads at most limit deliveries of a lane after the one with the
// given number, in order.
func (s *Store) Deliveries(ctx context.Context, key LaneKey, after int64, limit int) ([]Delivery, error) {
	return s.deliveries(ctx, s.lane.read, key, after, limit)
}

// PendingDeliveries is Deliveries for those that are pending.
func (s *Store) PendingDeliveries(ctx context.Context, key LaneKey, after int64, limit int) ([]Delivery, error) {
	return s.deliveries(ctx, pendingDeliveriesSQL, key, after, limit)
}

func (s *Store) deliveries(ctx context.Context, query string, key LaneKey, after int64, limit int) ([]Delivery, error) {
	rows, err := s.db.Reader().QueryContext(ctx, query, key.Instance, key.EndpointID, key.InteractionID, after, limit)
	found, err := collect(rows, err, (*deliveryRow).targets)
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	deliveries := make([]Delivery, len(found))
	for i := range found {
		deliveries[i] = found[i].delivery(key)
	}
	return deliveries, nil
}

const (
	settleDeliverySQL = `
UPDATE delivery SET state = $3, attempt_count = $4, attempts = $5, settle_time = $6 WHERE instance = $1 AND id = $2`
	retryLaneSQL = `
UPDATE lane SET lease_until = 0, next_time = $6
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND epoch = $4 AND settled_seq = $5 - 1 AND lease_until > 0
RETURNING last_seq`
)

// Settled is what comes behind a delivery that was settled.
type Settled struct {
	// More is true if the lane has further deliveries; the caller still holds
	// it. Otherwise the lease has ended.
	More bool
	// Pending is the next of them, in order, as far as they are known already.
	Pending []Delivery
}

// Settle ends the head of a held lane as d says: State (Delivered or Dead),
// AttemptCount and Attempts.
func (s *Store) Settle(ctx context.Context, d *Delivery, epoch int64, now time.Time) (Settled, error) {
	settled, err := s.dialect.settle(ctx, s.pool, d, epoch, now)
	if err != nil {
		return Settled{}, fmt.Errorf("settle delivery: %w", err)
	}
	return settled, nil
}

// Retry records a failed attempt at the head of a held lane and ends the
// lease; the lane is due again at next.
func (s *Store) Retry(ctx context.Context, d *Delivery, epoch int64, next time.Time) error {
	if err := s.putOff(ctx, d, epoch, sqldb.Micros(next), sql.NullInt64{}); err != nil {
		return fmt.Errorf("put delivery off: %w", err)
	}
	return nil
}

// putOff writes the head of a held lane, and ends the lease; the lane is due
// again at next.
func (s *Store) putOff(ctx context.Context, d *Delivery, epoch, next int64, settled sql.NullInt64) error {
	return s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var last int64
		err := tx.QueryRowContext(ctx, retryLaneSQL, d.Instance, d.EndpointID, d.InteractionID, epoch, d.Sequence, next).Scan(&last)
		if err != nil {
			return leased(err)
		}
		return writeAttempts(ctx, tx, d, settled)
	})
}

func writeAttempts(ctx context.Context, tx sqldb.Tx, d *Delivery, settled sql.NullInt64) error {
	_, err := tx.ExecContext(ctx, settleDeliverySQL, d.Instance, d.ID, string(d.State), d.AttemptCount,
		sql.NullString{String: string(d.Attempts), Valid: d.Attempts != nil}, settled)
	return err
}

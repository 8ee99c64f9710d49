package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Backlog is what waits.
type Backlog struct {
	// Messages and Deliveries are how many are pending.
	Messages, Deliveries int64
	// OldestMessage and OldestDelivery are when the oldest of them was made, or
	// asked for again; the zero time if none is pending.
	OldestMessage, OldestDelivery time.Time
	// Parked is how many lanes wait for somebody. What follows their dead
	// deliveries is pending.
	Parked int64
}

// Backlog counts what is pending. It reads each pending thread and lane once,
// and nothing that is done.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	var (
		b        Backlog
		oldest   sql.NullInt64
		readFrom = s.db.Reader()
	)
	err := readFrom.QueryRowContext(ctx, `
SELECT CAST(COALESCE(sum(thread.last_seq - thread.done_seq), 0) AS BIGINT), min(message.create_time)
FROM thread JOIN message ON message.instance = thread.instance AND message.channel_id = thread.channel_id
    AND message.client_identifier = thread.client_identifier AND message.seq = thread.done_seq + 1
WHERE thread.done_seq < thread.last_seq`).Scan(&b.Messages, &oldest)
	if err != nil {
		return Backlog{}, fmt.Errorf("count pending messages: %w", err)
	}
	b.OldestMessage = sqldb.NullTime(oldest)
	err = readFrom.QueryRowContext(ctx, `
SELECT CAST(COALESCE(sum(lane.last_seq - lane.settled_seq - `+parkedLane+`), 0) AS BIGINT), min(delivery.create_time)
FROM lane JOIN delivery ON delivery.instance = lane.instance AND delivery.endpoint_id = lane.endpoint_id
    AND delivery.interaction_id = lane.interaction_id AND delivery.sequence = lane.settled_seq + 1 + `+parkedLane+`
    AND delivery.state = 'PENDING'
WHERE lane.settled_seq < lane.last_seq`).Scan(&b.Deliveries, &oldest)
	if err != nil {
		return Backlog{}, fmt.Errorf("count pending deliveries: %w", err)
	}
	b.OldestDelivery = sqldb.NullTime(oldest)
	var again int64
	err = readFrom.QueryRowContext(ctx, `
SELECT CAST(COALESCE(sum(waiting), 0) AS BIGINT), min(since) FROM redelivery_lane WHERE waiting > 0`).Scan(&again, &oldest)
	if err != nil {
		return Backlog{}, fmt.Errorf("count redeliveries: %w", err)
	}
	b.Deliveries += again
	if since := sqldb.NullTime(oldest); oldest.Valid && (b.OldestDelivery.IsZero() || since.Before(b.OldestDelivery)) {
		b.OldestDelivery = since
	}
	err = readFrom.QueryRowContext(ctx, `
SELECT count(*) FROM lane WHERE settled_seq < last_seq AND next_time = `+never).Scan(&b.Parked)
	if err != nil {
		return Backlog{}, fmt.Errorf("count parked lanes: %w", err)
	}
	return b, nil
}

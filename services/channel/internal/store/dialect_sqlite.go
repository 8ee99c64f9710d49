package store

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// sqliteDialect relies on the one writer: within a transaction nobody else is.
type sqliteDialect struct{}

const (
	sqliteAcceptThread = `
INSERT INTO thread (instance, channel_id, client_identifier, last_seq, done_seq, epoch, lease_until, failures, strikes, next_time)
SELECT $1, $2, $3, 1, 0, $4, $5, 0, 0, $6 FROM channel WHERE instance = $1 AND id = $2 AND delete_time IS NULL
ON CONFLICT (instance, channel_id, client_identifier) DO UPDATE SET
    last_seq    = thread.last_seq + 1,
    epoch       = CASE WHEN thread.done_seq = thread.last_seq THEN thread.epoch + excluded.epoch ELSE thread.epoch END,
    lease_until = CASE WHEN thread.done_seq = thread.last_seq THEN excluded.lease_until ELSE thread.lease_until END,
    next_time   = CASE WHEN thread.done_seq = thread.last_seq THEN excluded.next_time ELSE thread.next_time END
RETURNING last_seq, done_seq, epoch`
	sqliteAcceptMessage = `
INSERT INTO message (instance, channel_id, client_identifier, seq, id, text, postback, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
)

// accept answers a repetition from within the transaction: the first message
// may be in the same group, and neither is answered before both are on disk.
func (sqliteDialect) accept(ctx context.Context, db *sqldb.DB, m *Message, key *Key, hold time.Time) (Accepted, error) {
	var accepted Accepted
	err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		now := sqldb.Micros(m.CreateTime)
		raise, lease, next := holding(hold, now)
		if key != nil {
			taken, err := takeKey(ctx, tx, m.Instance, key, m.CreateTime)
			if err != nil {
				return err
			}
			if !taken {
				accepted, err = replayed(ctx, tx, m, key)
				return err
			}
		}
		var (
			held Held
			done int64
		)
		err := tx.QueryRowContext(ctx, sqliteAcceptThread, m.Instance, m.ChannelID, m.ClientIdentifier, raise, lease, next).
			Scan(&held.Seq, &done, &held.Epoch)
		if sqldb.IsNoRows(err) {
			return ErrChannelNotFound
		}
		if err != nil {
			return err
		}
		held.OK = raise == 1 && done == held.Seq-1
		accepted = Accepted{MessageID: m.ID, Held: held}
		_, err = tx.ExecContext(ctx, sqliteAcceptMessage, m.Instance, m.ChannelID, m.ClientIdentifier, held.Seq, m.ID, m.Text,
			m.Postback, now)
		return err
	})
	return accepted, err
}

// holding gives what an idle queue's epoch is raised by, the lease's end and
// the next time, with or without a lease until hold.
func holding(hold time.Time, now int64) (raise, lease, next int64) {
	if hold.IsZero() {
		return 0, 0, now
	}
	return 1, sqldb.Micros(hold), sqldb.Micros(hold)
}

func (sqliteDialect) claimThreads() string {
	return `
UPDATE thread SET epoch = epoch + 1, lease_until = $2, next_time = $2
WHERE (instance, channel_id, client_identifier) IN (
    SELECT instance, channel_id, client_identifier FROM thread
    WHERE done_seq < last_seq AND next_time <= $1
    ORDER BY next_time LIMIT CAST($3 AS BIGINT) + 0)
RETURNING ` + threadColumns
}

func (sqliteDialect) claimLanes() string {
	return `
UPDATE lane SET epoch = epoch + 1, lease_until = $4, next_time = $4
WHERE (instance, endpoint_id, interaction_id) IN (
    SELECT instance, endpoint_id, interaction_id FROM lane INDEXED BY lane_pending
    WHERE instance = $1 AND endpoint_id = $2 AND settled_seq < last_seq AND next_time <= $3
    ORDER BY next_time LIMIT CAST($5 AS BIGINT) + 0)
RETURNING ` + laneColumns
}

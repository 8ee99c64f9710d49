package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// postgresDialect saves round trips with statements that do several things,
// and steps over rows that somebody else is claiming.
type postgresDialect struct {
	// token is what leases that are taken now name; 0: they only end by time.
	token func() int64
}

const (
	postgresAlive = `
    SELECT 1 FROM channel WHERE instance = $1 AND id = $2 AND delete_time IS NULL
    UNION ALL
    SELECT 1 FROM bot_api WHERE instance = $1 AND id = $2 AND delete_time IS NULL`
	postgresEndpoint = `
WITH alive AS (` + postgresAlive + `)`
	postgresTakeKey = `, alive_and_new AS (
    INSERT INTO idempotency (instance, scope, key, fingerprint, response, expire_time)
    SELECT $1, $14, $15, CAST($16 AS BYTEA), CAST($17 AS BYTEA), CAST($18 AS BIGINT) FROM alive
    ON CONFLICT (instance, scope, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, response = excluded.response, expire_time = excluded.expire_time
    WHERE idempotency.expire_time <= $10
    RETURNING 1)`
	postgresThread = `, accepted AS (
    INSERT INTO thread (instance, channel_id, client_identifier, last_seq, done_seq, epoch, lease_until, failures, strikes, next_time, holder)
    SELECT $1, $2, $3, 1, 0, CAST($10 AS BIGINT) + CAST($4 AS BIGINT), CAST($5 AS BIGINT), 0, 0, CAST($6 AS BIGINT), CAST($13 AS BIGINT) FROM `
	postgresMessage = `
    ON CONFLICT (instance, channel_id, client_identifier) DO UPDATE SET
        last_seq    = thread.last_seq + 1,
        epoch       = CASE WHEN thread.done_seq = thread.last_seq THEN thread.epoch + CAST($4 AS BIGINT) ELSE thread.epoch END,
        lease_until = CASE WHEN thread.done_seq = thread.last_seq THEN excluded.lease_until ELSE thread.lease_until END,
        next_time   = CASE WHEN thread.done_seq = thread.last_seq THEN excluded.next_time ELSE thread.next_time END,
        holder      = CASE WHEN thread.done_seq = thread.last_seq THEN excluded.holder ELSE thread.holder END
    RETURNING last_seq, done_seq, epoch
), stored AS (
    INSERT INTO message (instance, channel_id, client_identifier, seq, id, text, postback, create_time, context, trace)
    SELECT $1, $2, $3, last_seq, $7, $8, $9, CAST($10 AS BIGINT), CAST($11 AS BYTEA), CAST($12 AS TEXT) FROM accepted)
SELECT last_seq, done_seq, epoch FROM accepted`

	postgresAccept        = postgresEndpoint + postgresThread + `alive` + postgresMessage
	postgresAcceptWithKey = postgresEndpoint + postgresTakeKey + postgresThread + `alive_and_new` + postgresMessage
)

// accept is one statement, and so one round trip. The epochs of a new thread
// begin with the time, as on SQLite. The row of the thread is
// locked from the upsert to the commit, which makes seq the order of commits.
func (d postgresDialect) accept(ctx context.Context, db *sqldb.DB, m *Message, key *Key, hold time.Time) (Accepted, error) {
	now := sqldb.Micros(m.CreateTime)
	raise, lease, next := holding(hold, now)
	query := postgresAccept
	args := []any{
		m.Instance, m.ChannelID, m.ClientIdentifier, raise, lease, next, m.ID, m.Text, m.Postback, now, m.Context, optional(m.Trace), d.token(),
	}
	if key != nil {
		query = postgresAcceptWithKey
		args = append(args, key.Scope, key.Key, key.Fingerprint[:], key.Response, sqldb.Micros(m.CreateTime.Add(idempotency.Lifetime)))
	}
	var (
		held Held
		done int64
	)
	var err error
	if m.ReplyTo == "" {
		err = db.Query1(ctx, query, args, &held.Seq, &done, &held.Epoch)
	} else {
		err = db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			if err := tx.QueryRowContext(ctx, query, args...).Scan(&held.Seq, &done, &held.Epoch); err != nil {
				return err
			}
			return markReply(ctx, tx, m, held.Seq)
		})
	}
	if sqldb.IsNoRows(err) {
		return replayed(ctx, db.Reader(), m, key)
	}
	if err != nil {
		return Accepted{}, err
	}
	held.OK = raise == 1 && done == held.Seq-1
	return Accepted{MessageID: m.ID, Held: held}, nil
}

func (postgresDialect) others(db *sqldb.DB) database { return db }

func (d postgresDialect) holder() []any { return []any{d.token()} }

func (postgresDialect) tookThreads([]Thread, time.Time) {}

func (postgresDialect) tookLanes([]Lane, time.Time) {}

func (postgresDialect) bulk(head string, columns []string, tail string) *sqldb.Bulk {
	return sqldb.NewBulk(head, columns, tail)
}

func (postgresDialect) claimThreads() string {
	return `
WITH due AS (
    SELECT instance, channel_id, client_identifier FROM thread
    WHERE instance = $1 AND done_seq < last_seq AND next_time <= $2
    ORDER BY next_time LIMIT $4 FOR UPDATE SKIP LOCKED)
UPDATE thread SET epoch = thread.epoch + 1, lease_until = $3, next_time = $3, holder = $5 FROM due
WHERE thread.instance = due.instance AND thread.channel_id = due.channel_id AND thread.client_identifier = due.client_identifier
RETURNING thread.instance, thread.channel_id, thread.client_identifier, thread.epoch, thread.done_seq, thread.failures, thread.strikes`
}

func (postgresDialect) claimLanes() string {
	return `
WITH due AS (
    SELECT instance, endpoint_id, interaction_id FROM lane
    WHERE instance = $1 AND endpoint_id = $2 AND settled_seq < last_seq AND next_time <= $3
    ORDER BY next_time LIMIT $5 FOR UPDATE SKIP LOCKED)
UPDATE lane SET epoch = lane.epoch + 1, lease_until = $4, next_time = $4, holder = $6 FROM due
WHERE lane.instance = due.instance AND lane.endpoint_id = due.endpoint_id AND lane.interaction_id = due.interaction_id
RETURNING lane.instance, lane.endpoint_id, lane.interaction_id, lane.epoch, lane.settled_seq`
}

func (postgresDialect) claimRedeliveries() string {
	return `
WITH due AS (
    SELECT instance, endpoint_id, interaction_id FROM redelivery_lane
    WHERE instance = $1 AND endpoint_id = $2 AND waiting > 0 AND next_time <= $3
    ORDER BY next_time LIMIT $5 FOR UPDATE SKIP LOCKED)
UPDATE redelivery_lane AS l SET epoch = l.epoch + 1, lease_until = $4, next_time = $4, holder = $6 FROM due
WHERE l.instance = due.instance AND l.endpoint_id = due.endpoint_id AND l.interaction_id = due.interaction_id
RETURNING l.instance, l.endpoint_id, l.interaction_id, l.epoch`
}

func (postgresDialect) lane() laneSQL {
	return laneSQL{
		read: `
SELECT ` + deliveryColumns + ` FROM delivery
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence > $4 ORDER BY sequence LIMIT $5`,
		list: `
SELECT ` + listColumns + ` FROM delivery
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence >= $4 AND sequence < $5
ORDER BY sequence DESC LIMIT $6`,
		first: `
SELECT COALESCE((
    SELECT min(sequence) FROM delivery WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3), 0), COALESCE((
    SELECT settled_seq FROM lane WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3), 0), COALESCE((
    SELECT min(sequence) FROM delivery
    WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND state = 'PENDING'), 0)`,
		eraseSettled: `
DELETE FROM delivery
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence >= $4 AND sequence <= $5 AND state <> 'PENDING'`,
		erase: `
DELETE FROM delivery WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 RETURNING state`,
		count: `
SELECT count(*) FROM delivery WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3`,
	}
}

func (postgresDialect) listFrom(string) []any { return nil }

func (postgresDialect) retire(ctx context.Context, tx sqldb.Tx, instance, id string, before time.Time) (int64, error) {
	result, err := tx.ExecContext(ctx, `
DELETE FROM delivery WHERE instance = $1 AND id = $2 AND state <> 'PENDING' AND settle_time < $3`, instance, id, sqldb.Micros(before))
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

const (
	postgresExtendLane = `
INSERT INTO lane (instance, endpoint_id, interaction_id, last_seq, settled_seq, epoch, lease_until, next_time, holder)
SELECT $1, $2, $3, CAST($4 AS BIGINT), 0, CAST($5 AS BIGINT), CAST($6 AS BIGINT), CAST($7 AS BIGINT), CAST($8 AS BIGINT)
FROM (` + postgresAlive + `) AS alive
ON CONFLICT (instance, endpoint_id, interaction_id) DO UPDATE SET
    last_seq    = lane.last_seq + excluded.last_seq,
    epoch       = CASE WHEN lane.settled_seq = lane.last_seq THEN lane.epoch + excluded.epoch ELSE lane.epoch END,
    lease_until = CASE WHEN lane.settled_seq = lane.last_seq THEN excluded.lease_until ELSE lane.lease_until END,
    next_time   = CASE WHEN lane.settled_seq = lane.last_seq THEN excluded.next_time ELSE lane.next_time END,
    holder      = CASE WHEN lane.settled_seq = lane.last_seq THEN excluded.holder ELSE lane.holder END
RETURNING last_seq, settled_seq, epoch`
	postgresInsertDelivery = `
INSERT INTO delivery (instance, endpoint_id, interaction_id, sequence, id, contact_id, body, state, attempt_count, create_time, trace)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'PENDING', 0, $8, $9)`
	postgresSettleLane = `
UPDATE lane SET settled_seq = $5, lease_until = CASE WHEN last_seq = $5 THEN 0 ELSE lease_until END
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND epoch = $4 AND settled_seq = $5 - 1 AND lease_until > 0
RETURNING last_seq`
)

func (d postgresDialect) finishTurn(ctx context.Context, db *sqldb.DB, turn *Turn, now time.Time) (Finished, error) {
	f := &finish{turn: turn, now: now}
	err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		f.finished = Finished{}
		var last int64
		err := tx.QueryRowContext(ctx, finishThreadSQL, turn.Instance, turn.ChannelID, turn.ClientIdentifier, turn.Epoch, turn.Seq).Scan(&last)
		if err != nil {
			return leased(err)
		}
		f.finished.More = last > turn.Seq
		if len(turn.Answer) == 0 {
			return nil
		}
		return queue(ctx, tx, f, d.token())
	})
	return f.finished, err
}

func queue(ctx context.Context, tx sqldb.Tx, f *finish, token int64) error {
	micros := sqldb.Micros(f.now)
	raise, lease, next := holding(f.turn.HoldLane, micros)
	key := f.turn.lane()
	var last, settled, epoch int64
	err := tx.QueryRowContext(ctx, postgresExtendLane, key.Instance, key.EndpointID, key.InteractionID, len(f.turn.Answer), raise, lease, next, token).
		Scan(&last, &settled, &epoch)
	if sqldb.IsNoRows(err) {
		return nil // the channel or integration was deleted: nobody waits for the answer
	}
	if err != nil {
		return err
	}
	f.queued(last, settled, epoch)
	for i, answer := range f.turn.Answer {
		_, err := tx.ExecContext(ctx, postgresInsertDelivery, key.Instance, key.EndpointID, key.InteractionID,
			f.finished.FirstSequence+int64(i), answer.ID, f.turn.ContactID, answer.Body, micros, optional(f.turn.Trace))
		if err != nil {
			return err
		}
	}
	return nil
}

func (postgresDialect) settle(ctx context.Context, db *sqldb.DB, d *Delivery, epoch int64, now time.Time) (settled Settled, err error) {
	err = db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var last int64
		err := tx.QueryRowContext(ctx, postgresSettleLane, d.Instance, d.EndpointID, d.InteractionID, epoch, d.Sequence).Scan(&last)
		if err != nil {
			return leased(err)
		}
		settled = Settled{More: last > d.Sequence}
		return writeAttempts(ctx, tx, d, sql.NullInt64{Int64: sqldb.Micros(now), Valid: true})
	})
	return settled, err
}

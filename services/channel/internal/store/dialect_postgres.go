package store

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// postgresDialect saves round trips with statements that do several things,
// and steps over rows that somebody else is claiming.
type postgresDialect struct{}

const (
	postgresChannel = `
WITH alive AS (SELECT 1 FROM channel WHERE instance = $1 AND id = $2 AND delete_time IS NULL)`
	postgresTakeKey = `, alive_and_new AS (
    INSERT INTO idempotency (instance, scope, key, fingerprint, response, expire_time)
    SELECT $1, $11, $12, CAST($13 AS BYTEA), CAST($14 AS BYTEA), CAST($15 AS BIGINT) FROM alive
    ON CONFLICT (instance, scope, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, response = excluded.response, expire_time = excluded.expire_time
    WHERE idempotency.expire_time <= $10
    RETURNING 1)`
	postgresThread = `, accepted AS (
    INSERT INTO thread (instance, channel_id, client_identifier, last_seq, done_seq, epoch, lease_until, failures, strikes, next_time)
    SELECT $1, $2, $3, 1, 0, CAST($4 AS BIGINT), CAST($5 AS BIGINT), 0, 0, CAST($6 AS BIGINT) FROM `
	postgresMessage = `
    ON CONFLICT (instance, channel_id, client_identifier) DO UPDATE SET
        last_seq    = thread.last_seq + 1,
        epoch       = CASE WHEN thread.done_seq = thread.last_seq THEN thread.epoch + excluded.epoch ELSE thread.epoch END,
        lease_until = CASE WHEN thread.done_seq = thread.last_seq THEN excluded.lease_until ELSE thread.lease_until END,
        next_time   = CASE WHEN thread.done_seq = thread.last_seq THEN excluded.next_time ELSE thread.next_time END
    RETURNING last_seq, done_seq, epoch
), stored AS (
    INSERT INTO message (instance, channel_id, client_identifier, seq, id, text, postback, create_time)
    SELECT $1, $2, $3, last_seq, $7, $8, $9, CAST($10 AS BIGINT) FROM accepted)
SELECT last_seq, done_seq, epoch FROM accepted`

	postgresAccept        = postgresChannel + postgresThread + `alive` + postgresMessage
	postgresAcceptWithKey = postgresChannel + postgresTakeKey + postgresThread + `alive_and_new` + postgresMessage
)

// accept is one statement, and so one round trip. The row of the thread is
// locked from the upsert to the commit, which makes seq the order of commits.
func (postgresDialect) accept(ctx context.Context, db *sqldb.DB, m *Message, key *Key, hold time.Time) (Accepted, error) {
	now := sqldb.Micros(m.CreateTime)
	raise, lease, next := holding(hold, now)
	query := postgresAccept
	args := []any{m.Instance, m.ChannelID, m.ClientIdentifier, raise, lease, next, m.ID, m.Text, m.Postback, now}
	if key != nil {
		query = postgresAcceptWithKey
		args = append(args, key.Scope, key.Key, key.Fingerprint[:], key.Response, sqldb.Micros(m.CreateTime.Add(keyLifetime)))
	}
	var (
		held Held
		done int64
	)
	err := db.Query1(ctx, query, args, &held.Seq, &done, &held.Epoch)
	if sqldb.IsNoRows(err) {
		return replayed(ctx, db.Reader(), m, key)
	}
	if err != nil {
		return Accepted{}, err
	}
	held.OK = raise == 1 && done == held.Seq-1
	return Accepted{MessageID: m.ID, Held: held}, nil
}

func (postgresDialect) claimThreads() string {
	return `
WITH due AS (
    SELECT instance, channel_id, client_identifier FROM thread
    WHERE done_seq < last_seq AND next_time <= $1
    ORDER BY next_time LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE thread SET epoch = thread.epoch + 1, lease_until = $2, next_time = $2 FROM due
WHERE thread.instance = due.instance AND thread.channel_id = due.channel_id AND thread.client_identifier = due.client_identifier
RETURNING thread.instance, thread.channel_id, thread.client_identifier, thread.epoch, thread.done_seq, thread.failures, thread.strikes`
}

func (postgresDialect) claimLanes() string {
	return `
WITH due AS (
    SELECT instance, endpoint_id, interaction_id FROM lane
    WHERE instance = $1 AND endpoint_id = $2 AND settled_seq < last_seq AND next_time <= $3
    ORDER BY next_time LIMIT $5 FOR UPDATE SKIP LOCKED)
UPDATE lane SET epoch = lane.epoch + 1, lease_until = $4, next_time = $4 FROM due
WHERE lane.instance = due.instance AND lane.endpoint_id = due.endpoint_id AND lane.interaction_id = due.interaction_id
RETURNING lane.instance, lane.endpoint_id, lane.interaction_id, lane.epoch, lane.settled_seq`
}

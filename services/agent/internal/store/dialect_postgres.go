package store

import (
	"context"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var postgresDialect = dialect{
	newCommit: func(db *sqldb.DB) commitTurn {
		return func(ctx context.Context, r *turnRow) (bool, error) { return commitTurnPostgres(ctx, db, r) }
	},
	deleteRecords: `
DELETE FROM pending_record p USING jsonb_to_recordset($2::jsonb) AS d (c text, n bigint)
WHERE p.instance = $1 AND p.conversation_id = d.c AND p.turn_number = d.n
  AND ` + holdsLease,
}

// What follows the conversation's own row in the statements below: everything is taken from c, which is empty when the
// conversation has moved on.
const turnParts = `,
items AS (
    INSERT INTO message (instance, conversation_id, seq, id, turn_id, sender, body, create_time)
    SELECT $1, $2, v.seq, v.id, $3::text, v.sender, v.body, v.create_time
    FROM c, (VALUES ($4::bigint, $5::text, 'user', $6::bytea, $7::bigint), ($8::bigint, $9::text, 'bot', $10::bytea, $11::bigint))
        AS v (seq, id, sender, body, create_time)
    WHERE v.id IS NOT NULL
),
record AS (
    INSERT INTO pending_record (instance, conversation_id, turn_number, record) SELECT $1, $2, $12::bigint, $13::bytea FROM c
)
INSERT INTO turn (instance, id, conversation_id, number, answer, create_time)
SELECT $1, $3::text, $2, $12::bigint, $14::bytea, $15::bigint FROM c`

const commitOpening = `
WITH c AS (
    INSERT INTO conversation (instance, id, agent_id, agent_version, endpoint_id, identifier, source, attendance_id, contact_id, state,
        epoch, last_turn, last_item, flow_state, create_time, update_time, finish_time)
    VALUES ($1::text, $2::text, $16, $17, $18, $19, $20, $21, $22, $23, 0, $12::bigint, $24, $25, $15::bigint, $15::bigint, $26)
    RETURNING id
)` + turnParts

const commitNext = `
WITH c AS (
    UPDATE conversation SET state = $16, last_turn = $12::bigint, last_item = $17, flow_state = $18, update_time = $15::bigint, finish_time = $19
    WHERE instance = $1::text AND id = $2::text AND state = 'OPEN' AND epoch = $20 AND last_turn = $12::bigint - 1
    RETURNING id
)` + turnParts

// commitTurnPostgres stores all in one statement, which is a transaction by itself and one round trip.
func commitTurnPostgres(ctx context.Context, db *sqldb.DB, r *turnRow) (bool, error) {
	c := &r.Conversation
	args := append(make([]any, 0, 26), r.Lane.Instance, c.ID, r.ID,
		r.userSeq, r.userID, r.userBody, r.userAt, r.botSeq, r.botID, r.botBody, r.botAt, r.number, r.Record, r.Answer, r.now)
	statement := commitNext
	if c.LastTurn == 0 {
		statement = commitOpening
		args = append(args, r.Lane.AgentID, c.AgentVersion, r.Lane.EndpointID, r.Lane.Identifier, r.Source, c.AttendanceID,
			c.ContactID, r.state, r.items, c.FlowState, r.finish)
	} else {
		args = append(args, r.state, r.items, c.FlowState, r.finish, c.Epoch)
	}
	result, err := db.Exec1(ctx, statement, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

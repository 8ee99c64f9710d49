package store

import (
	"context"
	"encoding/json"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var postgresDialect = dialect{
	newCommit: func(db *sqldb.DB) commitTurn {
		return func(ctx context.Context, t *Turn) error { return commitTurnPostgres(ctx, db, t) }
	},
	readTurns:     `SELECT id, answer, record FROM turn WHERE instance = $1 AND id` + postgresList,
	readEnds:      readEndsOf + postgresList,
	finishSilent:  finishSilentOf + postgresList + ` RETURNING id`,
	recordEnds:    recordEndsOf + postgresList,
	deleteRecords: deleteRecordsPostgres,

	index:            postgresIndex{},
	readFeedback:     readFeedbackOf + postgresList,
	lockMetadata:     readMetadata + ` FOR UPDATE`,
	holdConversation: []string{readListedRow + ` FOR KEY SHARE`, readOpenedRow + ` FOR KEY SHARE`},
	eraseConversations: []string{
		// A pending record becomes a mark, and a mark words in the index: whoever is at it is waited for, and finds no more.
		`DELETE FROM pending_record WHERE instance = $1 AND conversation_id` + postgresList,
		`DELETE FROM search_pending WHERE instance = $1 AND conversation_id` + postgresList,
		// So is who holds the conversation.
		deleteListedOf + postgresList, deleteNotesOf + postgresList, deleteFeedbackOf + postgresList,
	},
	markRefused: `
INSERT INTO search_pending (instance, conversation_id, turn_number, turn_id)
SELECT instance, conversation_id, turn_number, turn_id FROM pending_record
WHERE instance = $1 AND conversation_id = $2 AND turn_number = $3 AND turn_id <> '' ON CONFLICT DO NOTHING`,
	inList: func(parameter string) string {
		return ` = ANY (ARRAY(SELECT jsonb_array_elements_text(` + parameter + `::jsonb)))`
	},
	elements: func(parameter string) string {
		return `jsonb_array_elements_text(` + parameter + `::jsonb) AS e (value)`
	},
}

// postgresList is the condition that a column is an element of the JSON list $2. An array is looked up in an index whatever the
// statistics are.
const postgresList = ` = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))`

const deleteRecordsOfList = `
WITH deleted AS (
    DELETE FROM pending_record p USING jsonb_to_recordset($2::jsonb) AS d (c text, n bigint)
    WHERE p.instance = $1 AND p.conversation_id = d.c AND p.turn_number = d.n
      AND ` + holdsLease + `
    RETURNING p.instance, p.conversation_id, p.turn_number, p.turn_id
),
marked AS (
    INSERT INTO search_pending (instance, conversation_id, turn_number, turn_id)
    SELECT instance, conversation_id, turn_number, turn_id FROM deleted WHERE turn_id <> '' ON CONFLICT DO NOTHING
)
SELECT count(*) FROM deleted`

// deleteRecordsPostgres is one statement, so that the lease cannot go between a look at it and the deletion. It leaves a mark that the
// turns are to be put into the index.
func deleteRecordsPostgres(ctx context.Context, db *sqldb.DB, lease Lease, instance string, keys []RecordKey) error {
	type place struct {
		ConversationID string `json:"c"`
		TurnNumber     int64  `json:"n"`
	}
	places := make([]place, len(keys))
	for i, k := range keys {
		places[i] = place{k.ConversationID, k.TurnNumber}
	}
	list, err := json.Marshal(places)
	if err != nil {
		return err
	}
	var n int
	err = db.Query1(ctx, deleteRecordsOfList, []any{instance, string(list), lease.Name, lease.Holder, lease.Epoch}, &n)
	if err == nil && n == 0 {
		err = ErrLeaseLost
	}
	return err
}

// What follows the conversation's own row in the statements below: everything is taken from c, which is empty when the
// conversation has moved on.
const turnParts = `,
record AS (
    INSERT INTO pending_record (instance, conversation_id, turn_number, turn_id) SELECT $1, $2, $4::bigint, $3 FROM c
)
INSERT INTO turn (instance, id, conversation_id, number, previous_id, answer, record, create_time)
SELECT $1, $3, $2, $4::bigint, $5::text, $6::bytea, $7::bytea, $8::bigint FROM c`

const commitOpening = `
WITH c AS (
    INSERT INTO conversation (instance, id, agent_id, agent_version, endpoint_id, identifier, source, attendance_id, contact_id, state,
        epoch, last_turn, last_turn_id, messages, flow_state, create_time, update_time, finish_time)
    SELECT $1::text, $2::text, $12::text, $13::bigint, $14::text, $15::text, $16::text, $17::bigint, $18::text, $9::text, $20::bigint,
        $4::bigint, $3::text, $10::bigint, $11::bytea, $8::bigint, $8::bigint, $19::bigint
    WHERE NOT EXISTS (SELECT 1 FROM erasure WHERE instance = $1::text AND person = $21::text AND cut_time >= $22::bigint)
    RETURNING id
)` + turnParts

const commitNext = `
WITH c AS (
    UPDATE conversation SET state = $9, last_turn = $4::bigint, last_turn_id = $3::text, messages = messages + $10, flow_state = $11,
        update_time = $8::bigint, finish_time = $12, epoch = epoch + $14
    WHERE instance = $1::text AND id = $2::text AND state = 'OPEN' AND epoch = $13 AND last_turn = $4::bigint - 1
    RETURNING id
)` + turnParts

// commitTurnPostgres stores all in one statement, which is a transaction by itself and one round trip.
func commitTurnPostgres(ctx context.Context, db *sqldb.DB, t *Turn) error {
	c := &t.Conversation
	state, finish := t.end()
	args := append(make([]any, 0, 22), t.Lane.Instance, c.ID, t.ID, c.LastTurn+1, c.LastTurnID, t.Answer, t.Record,
		sqldb.Micros(t.Time), state, t.Messages, c.FlowState)
	statement := commitNext
	if c.LastTurn == 0 {
		statement = commitOpening
		args = append(args, t.Lane.AgentID, c.AgentVersion, t.Lane.EndpointID, t.Lane.Identifier, t.Source, c.AttendanceID, c.ContactID,
			finish, t.raise(), t.Person.Person(), sqldb.Micros(t.Person.Accepted))
	} else {
		args = append(args, finish, c.Epoch, t.raise())
	}
	result, err := db.Exec1(ctx, statement, args...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = ErrConflict
	}
	return err
}

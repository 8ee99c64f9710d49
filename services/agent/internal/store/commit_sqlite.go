package store

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var (
	// What opens a conversation, or goes on with one, changes a row only if the turn was computed on what still is so.
	openConversations = newBulk(`
INSERT INTO conversation (instance, id, agent_id, agent_version, endpoint_id, identifier, source, attendance_id, contact_id, state, epoch,
    last_turn, last_turn_id, messages, flow_state, create_time, update_time, finish_time)
VALUES `, 18, ``)

	// The columns of the index of open conversations are not named here, so that it is not written.
	continueConversations = newBulk(`
UPDATE conversation AS c SET last_turn = v.column4, last_turn_id = v.column5, messages = c.messages + v.column6, flow_state = v.column7,
    update_time = v.column8
FROM (VALUES `, 8, movesOn)

	// Few turns do, so that all others need not write the epoch.
	handOverConversations = newBulk(`
UPDATE conversation AS c SET epoch = c.epoch + 1,
    last_turn = v.column4, last_turn_id = v.column5, messages = c.messages + v.column6, flow_state = v.column7, update_time = v.column8
FROM (VALUES `, 8, movesOn)

	finishConversations = newBulk(`
UPDATE conversation AS c SET state = 'FINISHED', finish_time = v.column8,
    last_turn = v.column4, last_turn_id = v.column5, messages = c.messages + v.column6, flow_state = v.column7, update_time = v.column8
FROM (VALUES `, 8, movesOn)
)

// movesOn ends the statements about open conversations: instance, id, epoch and the number of the turn come first in each row. The
// plus signs leave no way but to look each conversation up by its key.
const movesOn = `) AS v
WHERE c.instance = +v.column1 AND c.id = +v.column2 AND c.state = 'OPEN' AND c.epoch = +v.column3 AND c.last_turn = v.column4 - 1`

var (
	insertTurns = newBulk(`
INSERT INTO turn (instance, id, conversation_id, number, previous_id, answer, record, create_time) VALUES `, 8, ``)

	insertRecords = newBulk(`
INSERT INTO pending_record (instance, conversation_id, turn_number, turn_id) VALUES `, 4, ``)
)

// gather is how long a finished turn waits for others under load.
const gather = 3 * time.Millisecond

// newTurnBatch commits turns many at a time: statements cost no round trips here, but each of them much more than a row of it.
func newTurnBatch(db *sqldb.DB) commitTurn {
	return sqldb.NewBatcher(db, guarded(erasure.GuardOf(db), writeTurns)).Gather(gather).Do
}

// writeTurns stores turns, all or none: ErrConflict, or an error that sqldb.IsUnique knows, when one of them cannot be committed.
// The batcher then tries each by itself. That is rare, because callers send the turns of a conversation one at a time.
func writeTurns(ctx context.Context, tx sqldb.Tx, turns []*Turn) error {
	if err := moveConversations(ctx, tx, turns); err != nil {
		return err
	}
	rows := make([]any, 0, len(turns)*insertTurns.columns)
	records := make([]any, 0, len(turns)*insertRecords.columns)
	for _, t := range turns {
		c := &t.Conversation
		// Once each, as the interface values that they become.
		var instance, conversation, id, number any = t.Lane.Instance, c.ID, t.ID, c.LastTurn + 1
		rows = append(rows, instance, id, conversation, number, c.LastTurnID, t.Answer, t.Record, sqldb.Micros(t.Time))
		records = append(records, instance, conversation, number, id)
	}
	if _, err := insertTurns.exec(ctx, tx, rows); err != nil {
		return err
	}
	_, err := insertRecords.exec(ctx, tx, records)
	return err
}

// moveConversations opens conversations and moves them on.
func moveConversations(ctx context.Context, tx sqldb.Tx, turns []*Turn) error {
	var opening, last, given []any
	next := make([]any, 0, len(turns)*continueConversations.columns)
	for _, t := range turns {
		c := &t.Conversation
		now, number := sqldb.Micros(t.Time), c.LastTurn+1
		switch {
		case c.LastTurn == 0:
			state, finish := t.end()
			opening = append(opening, t.Lane.Instance, c.ID, t.Lane.AgentID, int64(c.AgentVersion), t.Lane.EndpointID, t.Lane.Identifier,
				t.Source, c.AttendanceID, c.ContactID, state, t.raise(), number, t.ID, t.Messages, c.FlowState, now, now, finish)
		case t.Finished:
			last = append(last, t.Lane.Instance, c.ID, c.Epoch, number, t.ID, t.Messages, c.FlowState, now)
		case t.HandedOver:
			given = append(given, t.Lane.Instance, c.ID, c.Epoch, number, t.ID, t.Messages, c.FlowState, now)
		default:
			next = append(next, t.Lane.Instance, c.ID, c.Epoch, number, t.ID, t.Messages, c.FlowState, now)
		}
	}
	// Those that end come before those that open: one may make room for the other.
	var moved int64
	for _, step := range []struct {
		statement *bulk
		args      []any
	}{{continueConversations, next}, {handOverConversations, given}, {finishConversations, last}, {openConversations, opening}} {
		changed, err := step.statement.exec(ctx, tx, step.args)
		if err != nil {
			return err
		}
		moved += changed
	}
	if moved < int64(len(turns)) {
		return ErrConflict
	}
	return nil
}

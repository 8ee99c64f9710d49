package store

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// What opens a conversation or goes on with one takes the row only if the turn was computed on what still is so; the ids that come
// back are those of the conversations that took their turn.
var (
	openConversations = newBulk(`
INSERT INTO conversation (instance, id, agent_id, agent_version, endpoint_id, identifier, source, attendance_id, contact_id, state, epoch,
    last_turn, last_item, flow_state, create_time, update_time, finish_time)
VALUES `, 17, `
ON CONFLICT DO NOTHING RETURNING id`)

	// The columns of the index of open conversations are not named here, so that it is not written.
	continueConversations = newBulk(`
UPDATE conversation AS c SET last_turn = v.column4, last_item = v.column5, flow_state = v.column6, update_time = v.column7
FROM (VALUES `, 7, movesOn)

	finishConversations = newBulk(`
UPDATE conversation AS c SET state = 'FINISHED', finish_time = v.column7,
    last_turn = v.column4, last_item = v.column5, flow_state = v.column6, update_time = v.column7
FROM (VALUES `, 7, movesOn)
)

// movesOn ends the statements about open conversations: instance, id, epoch and the number of the turn come first in each row. The
// plus signs leave no way but to look each conversation up by its key.
const movesOn = `) AS v
WHERE c.instance = +v.column1 AND c.id = +v.column2 AND c.state = 'OPEN' AND c.epoch = +v.column3 AND c.last_turn = v.column4 - 1
RETURNING id`

var (
	insertTurns = newBulk(`
INSERT INTO turn (instance, id, conversation_id, number, answer, create_time) VALUES `, 6, ``)

	insertItems = newBulk(`
INSERT INTO message (instance, conversation_id, seq, id, turn_id, sender, body, create_time) VALUES `, 8, ``)

	insertRecords = newBulk(`
INSERT INTO pending_record (instance, conversation_id, turn_number, record) VALUES `, 4, ``)
)

// newTurnBatch commits turns many at a time: statements cost no round trips here, but each of them much more than a row of it.
func newTurnBatch(db *sqldb.DB) commitTurn {
	batch := sqldb.NewBatcher(db, writeTurns).Gather(gather)
	return func(ctx context.Context, r *turnRow) (bool, error) {
		err := batch.Do(ctx, r)
		return err == nil && r.committed, err
	}
}

// writeTurns stores turns and says of each whether it was committed. A turn that is stored already fails all of them, and then
// each is tried by itself; callers find out before whether a turn is, so that is rare.
func writeTurns(ctx context.Context, tx sqldb.Tx, rows []*turnRow) error {
	for len(rows) > 0 {
		var r round
		r, rows = nextRound(rows)
		if err := r.moveConversations(ctx, tx); err != nil {
			return err
		}
		if err := r.insertParts(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// round is turns of different conversations, which need not look at each other.
type round struct {
	rows           []*turnRow
	byConversation map[string]*turnRow // by the id alone
}

// nextRound takes turns of different conversations; the rest comes after them. Callers send the turns of a conversation one at a
// time, so there hardly ever is a rest.
func nextRound(rows []*turnRow) (r round, rest []*turnRow) {
	r.rows = make([]*turnRow, 0, len(rows))
	r.byConversation = make(map[string]*turnRow, len(rows))
	for _, row := range rows {
		row.committed = false
		if _, taken := r.byConversation[row.Conversation.ID]; taken {
			rest = append(rest, row)
			continue
		}
		r.byConversation[row.Conversation.ID] = row
		r.rows = append(r.rows, row)
	}
	return r, rest
}

// moveConversations opens conversations and moves them on, and marks the turns of those that could be.
func (r *round) moveConversations(ctx context.Context, tx sqldb.Tx) error {
	var opening, next, last []any
	for _, t := range r.rows {
		c := &t.Conversation
		switch {
		case c.LastTurn == 0:
			opening = append(opening, t.Lane.Instance, c.ID, t.Lane.AgentID, int64(c.AgentVersion), t.Lane.EndpointID, t.Lane.Identifier,
				t.Source, c.AttendanceID, c.ContactID, t.state, int64(0), t.number, t.items, c.FlowState, t.now, t.now, t.finish)
		case t.Finished:
			last = append(last, t.Lane.Instance, c.ID, c.Epoch, t.number, t.items, c.FlowState, t.now)
		default:
			next = append(next, t.Lane.Instance, c.ID, c.Epoch, t.number, t.items, c.FlowState, t.now)
		}
	}
	moved := func(id []byte) { r.byConversation[string(id)].committed = true }
	// Those that end come before those that open: one may make room for the other.
	if err := continueConversations.returning(ctx, tx, next, moved); err != nil {
		return err
	}
	if err := finishConversations.returning(ctx, tx, last, moved); err != nil {
		return err
	}
	return openConversations.returning(ctx, tx, opening, moved)
}

// insertParts stores what belongs to the turns that were committed.
func (r *round) insertParts(ctx context.Context, tx sqldb.Tx) error {
	turns := make([]any, 0, len(r.rows)*insertTurns.columns)
	items := make([]any, 0, 2*len(r.rows)*insertItems.columns)
	records := make([]any, 0, len(r.rows)*insertRecords.columns)
	for _, t := range r.rows {
		if !t.committed {
			continue
		}
		// Once each, as the interface values that they become.
		var instance, conversation, id, number any = t.Lane.Instance, t.Conversation.ID, t.ID, t.number
		turns = append(turns, instance, id, conversation, number, t.Answer, t.now)
		records = append(records, instance, conversation, number, t.Record)
		if t.User != nil {
			items = append(items, instance, conversation, t.userSeq, t.User.ID, id, senderUser, t.userBody, t.userAt)
		}
		if t.Bot != nil {
			items = append(items, instance, conversation, t.botSeq, t.Bot.ID, id, senderBot, t.botBody, t.botAt)
		}
	}
	if err := insertTurns.exec(ctx, tx, turns); err != nil {
		return err
	}
	if err := insertItems.exec(ctx, tx, items); err != nil {
		return err
	}
	return insertRecords.exec(ctx, tx, records)
}

// gather is how long a finished turn waits for others under load.
const gather = 3 * time.Millisecond

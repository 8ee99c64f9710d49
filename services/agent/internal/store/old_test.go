package store

import (
	"context"
	"os"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func init() {
	if os.Getenv("OLD") != "" {
		sqliteDialect.newCommit = func(db *sqldb.DB) commitTurn {
			return func(ctx context.Context, r *turnRow) (bool, error) { return commitTurnSQLite(ctx, db, r) }
		}
	}
}

const insertConversation = `
INSERT INTO conversation (instance, id, agent_id, agent_version, endpoint_id, identifier, source, attendance_id, contact_id, state, epoch,
    last_turn, last_item, flow_state, create_time, update_time, finish_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13, $14, $14, $15)`

const updateConversation = `
UPDATE conversation SET state = $3, last_turn = $4, last_item = $5, flow_state = $6, update_time = $7, finish_time = $8
WHERE instance = $1 AND id = $2 AND state = 'OPEN' AND epoch = $9 AND last_turn = $4 - 1`

const insertTurn = `INSERT INTO turn (instance, id, conversation_id, number, answer, create_time) VALUES ($1, $2, $3, $4, $5, $6)`

const insertItemsOld = `
INSERT INTO message (instance, conversation_id, seq, id, turn_id, sender, body, create_time)
VALUES ($1, $2, $3, $4, $5, 'user', $6, $7), ($1, $2, $8, $9, $5, 'bot', $10, $11)`

const insertRecord = `INSERT INTO pending_record (instance, conversation_id, turn_number, record) VALUES ($1, $2, $3, $4)`

func commitTurnSQLite(ctx context.Context, db *sqldb.DB, r *turnRow) (bool, error) {
	err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		instance, c := r.Lane.Instance, &r.Conversation
		if c.LastTurn == 0 {
			_, err := tx.ExecContext(ctx, insertConversation, instance, c.ID, r.Lane.AgentID, c.AgentVersion, r.Lane.EndpointID,
				r.Lane.Identifier, r.Source, c.AttendanceID, c.ContactID, r.state, r.number, r.items, c.FlowState, r.now, r.finish)
			if err != nil {
				return err
			}
		} else {
			result, err := tx.ExecContext(ctx, updateConversation, instance, c.ID, r.state, r.number, r.items, c.FlowState, r.now,
				r.finish, c.Epoch)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil {
				return err
			} else if n == 0 {
				return ErrConflict
			}
		}
		if _, err := tx.ExecContext(ctx, insertTurn, instance, r.ID, c.ID, r.number, r.Answer, r.now); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, insertItemsOld, instance, c.ID, r.userSeq, r.userID, r.ID, r.userBody, r.userAt,
			r.botSeq, r.botID, r.botBody, r.botAt); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, insertRecord, instance, c.ID, r.number, r.Record)
		return err
	})
	return err == nil, err
}

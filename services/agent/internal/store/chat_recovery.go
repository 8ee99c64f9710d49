package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const abandonedChats = `
SELECT instance, conversation_id, number, id, agent_id, identifier, text, accept_time, holder, tries FROM chat_turn q
WHERE failure = '' AND NOT ` + hasTurn + ` AND (holder = $1 OR NOT EXISTS (
    SELECT 1 FROM worker_lease l WHERE l.instance = '' AND l.name = '` + chatLease + `' || q.holder AND l.expire_time > $2))
ORDER BY instance, conversation_id, number LIMIT $3`

// AbandonedChats returns chat messages without a turn, of all instances, that nobody runs: those that the holder itself holds, and those
// of holders whose lease has ended. Those of a conversation come in order.
func (s *Store) AbandonedChats(ctx context.Context, holder string, now time.Time, limit int) ([]ChatTurn, error) {
	rows, err := s.db.Reader().QueryContext(ctx, abandonedChats, holder, sqldb.Micros(now), limit)
	if err != nil {
		return nil, fmt.Errorf("read chat messages: %w", err)
	}
	defer rows.Close()
	var found []ChatTurn
	for rows.Next() {
		var t ChatTurn
		var text []byte
		var accepted int64
		err := rows.Scan(&t.Instance, &t.ConversationID, &t.Number, &t.ID, &t.AgentID, &t.Identifier, &text, &accepted, &t.Holder, &t.Tries)
		if err != nil {
			return nil, fmt.Errorf("read chat messages: %w", err)
		}
		t.Text, t.AcceptTime = string(text), sqldb.Time(accepted)
		found = append(found, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read chat messages: %w", err)
	}
	return found, nil
}

const claimChat = `
UPDATE chat_turn AS q SET holder = $5, tries = q.tries + 1
WHERE q.instance = $1 AND q.conversation_id = $2 AND q.number = $3 AND q.id = $4 AND q.holder = $6 AND q.failure = '' AND NOT ` + hasTurn

// ClaimChats takes chat messages over under a lease, and gives those of them that nobody else took first.
func (s *Store) ClaimChats(ctx context.Context, found []ChatTurn, holder string, lease ChatLease) ([]ChatTurn, error) {
	if len(found) == 0 {
		return nil, nil
	}
	var claimed []ChatTurn
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		claimed = make([]ChatTurn, 0, len(found))
		if err := lease.take(ctx, tx); err != nil {
			return err
		}
		for _, t := range found {
			result, err := tx.ExecContext(ctx, claimChat, t.Instance, t.ConversationID, t.Number, t.ID, holder, t.Holder)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			if n == 1 {
				t.Holder, t.Tries = holder, t.Tries+1
				claimed = append(claimed, t)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim chat messages: %w", err)
	}
	return claimed, nil
}

const stopChat = `
UPDATE chat_turn SET stopped = TRUE WHERE instance = $1 AND conversation_id = $2 AND number = (
    SELECT min(number) FROM chat_turn q WHERE q.instance = $1 AND q.conversation_id = $2 AND q.failure = '' AND NOT ` + hasTurn + `)
RETURNING id`

// StopChat asks whichever process runs the first turn of a conversation to stop it, and gives the turn; empty when there is none.
func (s *Store) StopChat(ctx context.Context, instance, conversationID string) (string, error) {
	var id string
	err := s.db.Query1(ctx, stopChat, []any{instance, conversationID}, &id)
	if sqldb.IsNoRows(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask to stop chat turn: %w", err)
	}
	return id, nil
}

const stoppedChats = `SELECT id FROM chat_turn WHERE holder = $1 AND stopped`

// StoppedChats are the turns of a holder, of all instances, that others asked to stop.
func (s *Store) StoppedChats(ctx context.Context, holder string) ([]string, error) {
	rows, err := s.db.Reader().QueryContext(ctx, stoppedChats, holder)
	if err != nil {
		return nil, fmt.Errorf("read stopped chat turns: %w", err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read stopped chat turns: %w", err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read stopped chat turns: %w", err)
	}
	return ids, nil
}

const sweepChats = `DELETE FROM chat_turn AS q WHERE q.failure <> '' AND q.accept_time < $1 OR q.failure = '' AND ` + hasTurn

// SweepChats deletes the chat messages, of all instances, that have their turn, and those without that were accepted before a moment.
func (s *Store) SweepChats(ctx context.Context, before time.Time) error {
	if _, err := s.db.Exec1(ctx, sweepChats, sqldb.Micros(before)); err != nil {
		return fmt.Errorf("sweep chat messages: %w", err)
	}
	return nil
}

package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Link is a turn in the chain of those of a conversation.
type Link struct {
	// Number counts the turns of the conversation from 1.
	Number int64
	// TurnID is the turn; empty where there is none.
	TurnID string
}

const lastLink = `SELECT last_turn, last_turn_id FROM conversation WHERE instance = $1 AND id = $2`

// LastLink is the last turn of a conversation, and no turn when nothing is said in it yet. Errors: ErrNotFound.
func (s *Store) LastLink(ctx context.Context, instance, conversationID string) (Link, error) {
	var last Link
	err := s.db.Reader().QueryRowContext(ctx, lastLink, instance, conversationID).Scan(&last.Number, &last.TurnID)
	if sqldb.IsNoRows(err) {
		return Link{}, mustExist(ctx, s.db.Reader(), instance, conversationID)
	}
	if err != nil {
		return Link{}, fmt.Errorf("read last turn: %w", err)
	}
	return last, nil
}

// followChain follows the turns of a conversation back without what was said in them. Each is looked up by its key.
const followChain = `
WITH RECURSIVE chain(id, number, previous_id) AS (
    SELECT id, number, previous_id FROM turn WHERE instance = $1 AND id = $2 AND conversation_id = $3
    UNION ALL
    SELECT t.id, t.number, t.previous_id FROM chain c JOIN turn t ON t.instance = $1 AND t.id = c.previous_id
    WHERE c.number > $4 AND t.conversation_id = $3
)`

const chain = followChain + `
SELECT number, id FROM chain ORDER BY number`

// Chain reads the turns of a conversation from the one with a number, or the first that there is behind it, up to another, oldest first.
// The other one is given by its id and in what is returned. It is empty when there is no such turn in the conversation.
func (s *Store) Chain(ctx context.Context, instance, conversationID string, from int64, upTo string) ([]Link, error) {
	rows, err := s.db.Reader().QueryContext(ctx, chain, instance, upTo, conversationID, from)
	if err != nil {
		return nil, fmt.Errorf("read chain of turns: %w", err)
	}
	defer rows.Close()
	var links []Link
	for rows.Next() {
		var l Link
		if err := rows.Scan(&l.Number, &l.TurnID); err != nil {
			return nil, fmt.Errorf("read chain of turns: %w", err)
		}
		links = append(links, l)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read chain of turns: %w", err)
	}
	return links, nil
}

const saidInChain = followChain + `
SELECT t.answer, t.record FROM chain c JOIN turn t ON t.instance = $1 AND t.id = c.id ORDER BY c.number`

// SaidInChain reads what was said in the turns that Chain gives, in their order.
func (s *Store) SaidInChain(ctx context.Context, instance, conversationID string, from int64, upTo string) ([]Said, error) {
	rows, err := s.db.Reader().QueryContext(ctx, saidInChain, instance, upTo, conversationID, from)
	if err != nil {
		return nil, fmt.Errorf("read turns of chain: %w", err)
	}
	defer rows.Close()
	var all []Said
	for rows.Next() {
		var one Said
		if err := rows.Scan(&one.Answer, &one.Record); err != nil {
			return nil, fmt.Errorf("read turns of chain: %w", err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read turns of chain: %w", err)
	}
	return all, nil
}

// SaidIn reads one turn, and the conversation that it belongs to. Errors: ErrNotFound.
func (s *Store) SaidIn(ctx context.Context, instance, turnID string) (conversationID string, said Said, err error) {
	err = s.db.Reader().QueryRowContext(ctx, saidIn, instance, turnID).Scan(&conversationID, &said.Answer, &said.Record)
	if sqldb.IsNoRows(err) {
		return "", Said{}, ErrNotFound
	}
	if err != nil {
		return "", Said{}, fmt.Errorf("read turn: %w", err)
	}
	return conversationID, said, nil
}

const saidIn = `SELECT conversation_id, answer, record FROM turn WHERE instance = $1 AND id = $2`

// readFeedbackOf is about the turns of a JSON list, $2, up to the condition that they are in it; $3 is their conversation.
const readFeedbackOf = `SELECT turn_id, feedback FROM message_feedback WHERE instance = $1 AND conversation_id = $3 AND turn_id`

// Feedback reads what somebody thinks of the answers of turns of one conversation, and gives what there is.
func (s *Store) Feedback(ctx context.Context, instance, conversationID string, turnIDs []string) (map[string]string, error) {
	list, err := json.Marshal(turnIDs)
	if err != nil {
		return nil, fmt.Errorf("read feedback: %w", err)
	}
	rows, err := s.db.Reader().QueryContext(ctx, s.dialect.readFeedback, instance, string(list), conversationID)
	if err != nil {
		return nil, fmt.Errorf("read feedback: %w", err)
	}
	defer rows.Close()
	feedback := make(map[string]string)
	for rows.Next() {
		var turn, given string
		if err := rows.Scan(&turn, &given); err != nil {
			return nil, fmt.Errorf("read feedback: %w", err)
		}
		feedback[turn] = given
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read feedback: %w", err)
	}
	return feedback, nil
}

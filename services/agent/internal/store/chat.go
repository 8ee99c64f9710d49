package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/worklease"
)

// ErrQueueFull says that as many chat messages of a conversation wait for their turn as may.
var ErrQueueFull = errors.New("queue is full")

// ChatTarget is the conversation that a chat message is for.
type ChatTarget struct {
	AgentID, Identifier string
	// Owned says that it came in by a channel or an integration.
	Owned bool
	// Finished says that it has ended.
	Finished bool
	// UpdateTime is when its last turn was answered; zero before the first.
	UpdateTime time.Time
}

const findChatTarget = `
SELECT h.agent_id, h.identifier, c.agent_id, c.identifier, c.endpoint_id, c.state, c.update_time
FROM (SELECT 1 AS one) AS o
LEFT JOIN chat_conversation h ON h.instance = $1 AND h.id = $2
LEFT JOIN conversation c ON c.instance = $1 AND c.id = $2`

// ChatTarget reads what a chat message needs to know of its conversation. Errors: ErrNotFound.
func (s *Store) ChatTarget(ctx context.Context, instance, id string) (ChatTarget, error) {
	var createdAgent, createdFor, agent, identifier, endpoint, state sql.NullString
	var updated sql.NullInt64
	err := s.db.Reader().QueryRowContext(ctx, findChatTarget, instance, id).
		Scan(&createdAgent, &createdFor, &agent, &identifier, &endpoint, &state, &updated)
	switch {
	case err != nil:
		return ChatTarget{}, fmt.Errorf("read conversation of chat: %w", err)
	case agent.Valid:
		return ChatTarget{
			AgentID: agent.String, Identifier: identifier.String, Owned: endpoint.String != id, Finished: state.String == stateFinished,
			UpdateTime: sqldb.NullTime(updated),
		}, nil
	case createdAgent.Valid:
		return ChatTarget{AgentID: createdAgent.String, Identifier: createdFor.String}, nil
	default:
		return ChatTarget{}, ErrNotFound
	}
}

const hasConversation = `SELECT EXISTS (SELECT 1 FROM conversation WHERE instance = $1 AND id = $2)`

// HasConversation says that a conversation was opened, whether it has ended since or not.
func (s *Store) HasConversation(ctx context.Context, instance, id string) (bool, error) {
	var exists bool
	if err := s.db.Reader().QueryRowContext(ctx, hasConversation, instance, id).Scan(&exists); err != nil {
		return false, fmt.Errorf("look for conversation: %w", err)
	}
	return exists, nil
}

// ChatTurn is a chat message on its way to its turn.
type ChatTurn struct {
	Instance, ConversationID string
	// Number is its place among those of its conversation.
	Number int64
	// ID is the message's id, which is the turn's.
	ID                        string
	AgentID, Identifier, Text string
	// AcceptTime has the precision of the store, microseconds.
	AcceptTime time.Time
	// Holder is the process that runs it.
	Holder string
	// Tries is how often a process took it over from one that had died.
	Tries int64
}

// ChatLease keeps the chat turns that a process holds from being taken over by another one. The zero value asks for none.
type ChatLease struct {
	Holder     string
	Now, Until time.Time
}

// chatLease begins the names of the leases by which it is known that the holders of chat turns are alive.
const chatLease = `chat/`

func (l ChatLease) take(ctx context.Context, tx sqldb.Tx) error {
	if l.Holder == "" {
		return nil
	}
	_, held, err := worklease.TakeIn(ctx, tx, chatLease+l.Holder, l.Holder, l.Now, l.Until)
	if err == nil && !held {
		err = fmt.Errorf("take lease: %w", ErrLeaseLost)
	}
	return err
}

// HoldChats takes or renews the lease.
func (s *Store) HoldChats(ctx context.Context, lease ChatLease) error {
	return s.db.Write(ctx, lease.take)
}

// AcceptedChat says what became of a chat message.
type AcceptedChat struct {
	// ID is the turn; that of the first call when Repeated.
	ID       string
	Repeated bool
	Number   int64
	// Behind says that turns which another process holds come before it.
	Behind bool
}

const (
	// hasTurn is the condition that the turn of a chat message q is committed.
	hasTurn = `EXISTS (SELECT 1 FROM turn t WHERE t.instance = q.instance AND t.id = q.id)`

	clearChats = `DELETE FROM chat_turn AS q WHERE q.instance = $1 AND q.conversation_id = $2 AND q.failure = '' AND ` + hasTurn

	countChats = `
SELECT coalesce(max(number), 0), coalesce(sum(CASE WHEN failure = '' THEN 1 ELSE 0 END), 0),
    coalesce(sum(CASE WHEN failure = '' AND holder <> $3 THEN 1 ELSE 0 END), 0)
FROM chat_turn WHERE instance = $1 AND conversation_id = $2`

	insertChat = `
INSERT INTO chat_turn (instance, conversation_id, number, id, agent_id, identifier, text, accept_time, holder, tries, stopped, failure)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, FALSE, '')`

	// maxChatAttempts is how often a message is accepted anew because another process took its number.
	maxChatAttempts = 5
)

// AcceptChat stores a chat message behind those of its conversation that wait, unless that many wait already. With a key that was used
// before nothing is stored. Number and Tries of t are ignored. Errors: ErrQueueFull, idempotency.ErrReused.
func (s *Store) AcceptChat(ctx context.Context, t ChatTurn, key *idempotency.Key, lease ChatLease, most int) (AcceptedChat, error) {
	var accepted AcceptedChat
	var err error
	for range maxChatAttempts {
		err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			var err error
			accepted, err = acceptChat(ctx, tx, t, key, lease, most)
			return err
		})
		if !sqldb.IsUnique(err) {
			break
		}
	}
	switch {
	case err == nil:
		return accepted, nil
	case errors.Is(err, ErrQueueFull), errors.Is(err, idempotency.ErrReused):
		return AcceptedChat{}, err
	default:
		return AcceptedChat{}, fmt.Errorf("accept chat message: %w", err)
	}
}

func acceptChat(ctx context.Context, tx sqldb.Tx, t ChatTurn, key *idempotency.Key, lease ChatLease, most int) (AcceptedChat, error) {
	if key != nil {
		taken, err := idempotency.Take(ctx, tx, *key, []byte(t.ID), t.AcceptTime)
		if err != nil {
			return AcceptedChat{}, err
		}
		if !taken {
			first, _, err := idempotency.Recall(ctx, tx, *key, t.AcceptTime)
			return AcceptedChat{ID: string(first), Repeated: true}, err
		}
	}
	if _, err := tx.ExecContext(ctx, clearChats, t.Instance, t.ConversationID); err != nil {
		return AcceptedChat{}, err
	}
	var last, waiting, others int64
	if err := tx.QueryRowContext(ctx, countChats, t.Instance, t.ConversationID, t.Holder).Scan(&last, &waiting, &others); err != nil {
		return AcceptedChat{}, err
	}
	if waiting >= int64(most) {
		return AcceptedChat{}, ErrQueueFull
	}
	if err := lease.take(ctx, tx); err != nil {
		return AcceptedChat{}, err
	}
	_, err := tx.ExecContext(ctx, insertChat, t.Instance, t.ConversationID, last+1, t.ID, t.AgentID, t.Identifier, []byte(t.Text),
		sqldb.Micros(t.AcceptTime), t.Holder)
	return AcceptedChat{ID: t.ID, Number: last + 1, Behind: others > 0}, err
}

// ChatState is how far a chat message is.
type ChatState struct {
	// Answer is the turn's answer as in Turn; nil before it is committed.
	Answer []byte
	// Failure is the reason for which it has no turn and never will have one; empty: none.
	Failure string
}

const findChat = `
SELECT t.conversation_id, t.answer, q.conversation_id, q.failure
FROM (SELECT 1 AS one) AS o
LEFT JOIN turn t ON t.instance = $1 AND t.id = $2
LEFT JOIN chat_turn q ON q.instance = $1 AND q.id = $2`

// Chat reads how far a chat message of a conversation is. Errors: ErrNotFound.
func (s *Store) Chat(ctx context.Context, instance, conversationID, id string) (ChatState, error) {
	var turnOf, chatOf, failure sql.NullString
	var answer []byte
	if err := s.db.Reader().QueryRowContext(ctx, findChat, instance, id).Scan(&turnOf, &answer, &chatOf, &failure); err != nil {
		return ChatState{}, fmt.Errorf("read chat message: %w", err)
	}
	switch {
	case turnOf.Valid && turnOf.String == conversationID:
		return ChatState{Answer: answer}, nil
	case !turnOf.Valid && chatOf.Valid && chatOf.String == conversationID:
		return ChatState{Failure: failure.String}, nil
	default:
		return ChatState{}, ErrNotFound
	}
}

const isChatAhead = `
SELECT EXISTS (SELECT 1 FROM chat_turn q WHERE q.instance = $1 AND q.conversation_id = $2 AND q.number < $3 AND q.holder <> $4
    AND q.failure = '' AND NOT ` + hasTurn + `)`

// ChatIsAhead says that a turn which another process holds comes before a chat message.
func (s *Store) ChatIsAhead(ctx context.Context, t *ChatTurn) (bool, error) {
	var ahead bool
	if err := s.db.Reader().QueryRowContext(ctx, isChatAhead, t.Instance, t.ConversationID, t.Number, t.Holder).Scan(&ahead); err != nil {
		return false, fmt.Errorf("look for chat turns ahead: %w", err)
	}
	return ahead, nil
}

const (
	failChat = `UPDATE chat_turn SET failure = $4 WHERE instance = $1 AND conversation_id = $2 AND id = $3`

	// failErased leaves nothing of who was erased while the message came in.
	failErased = `UPDATE chat_turn SET failure = $4, text = $5, identifier = '' WHERE instance = $1 AND conversation_id = $2 AND id = $3`
	// erasedFailure is the reason of that.
	erasedFailure = "PERSON_ERASED"
)

// FailChat says for good that a chat message has no turn, and why.
func (s *Store) FailChat(ctx context.Context, t *ChatTurn, failure string) error {
	if failure == erasedFailure {
		if _, err := s.db.Exec1(ctx, failErased, t.Instance, t.ConversationID, t.ID, failure, []byte{}); err != nil {
			return fmt.Errorf("fail chat message of erased person: %w", err)
		}
		return nil
	}
	if _, err := s.db.Exec1(ctx, failChat, t.Instance, t.ConversationID, t.ID, failure); err != nil {
		return fmt.Errorf("fail chat message: %w", err)
	}
	return nil
}

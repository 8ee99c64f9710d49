package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// SourceAgent is the source of conversations that the conversation API made.
const SourceAgent = "agent"

// ListedConversation is a conversation as it is listed.
type ListedConversation struct {
	ID, Identifier, Source string
	// AgentName and AgentAbout are what people see of the agent now, also when it is deleted.
	AgentName, AgentAbout string
	// Metadata is a serialized structpb.Struct; nil: none.
	Metadata []byte
	// Survey is 0 until rated.
	Survey int32
	// Messages counts what was said by either side.
	Messages   int64
	CreateTime time.Time
	// UpdateTime is when something was last said or noted.
	UpdateTime time.Time
}

// NewChat is a conversation that the conversation API makes.
type NewChat struct {
	Instance, ID, AgentID, Identifier string
	// Head is what it is found by itself, folded.
	Head       string
	CreateTime time.Time
	// Metadata is a serialized structpb.Struct, and MetadataWords what it is found by, folded; nil: none.
	Metadata      []byte
	MetadataWords string
}

const insertChatConversation = `
INSERT INTO chat_conversation (instance, id, agent_id, identifier, source, head, create_time) VALUES ($1, $2, $3, $4, 'agent', $5, $6)`

const insertNote = `
INSERT INTO conversation_note (instance, conversation_id, metadata, survey, update_time) VALUES ($1, $2, $3, 0, $4)
ON CONFLICT (instance, conversation_id) DO NOTHING`

// CreateChat stores a new conversation inside tx. Errors: ErrNotFound when there is no such agent, or it is deleted.
func (s *Store) CreateChat(ctx context.Context, tx sqldb.Tx, c NewChat) error {
	if _, err := agentIn(ctx, tx, c.Instance, c.AgentID); err != nil {
		return err
	}
	created := sqldb.Micros(c.CreateTime)
	if _, err := tx.ExecContext(ctx, insertChatConversation, c.Instance, c.ID, c.AgentID, c.Identifier, c.Head, created); err != nil {
		return fmt.Errorf("insert conversation: %w", err)
	}
	if err := s.dialect.index.addHead(ctx, tx, c.Instance, c.ID, c.Head); err != nil {
		return fmt.Errorf("index conversation: %w", err)
	}
	if c.Metadata == nil {
		return nil
	}
	if _, err := tx.ExecContext(ctx, insertNote, c.Instance, c.ID, c.Metadata, created); err != nil {
		return fmt.Errorf("insert metadata: %w", err)
	}
	if err := s.dialect.index.setMetadata(ctx, tx, c.Instance, c.ID, c.MetadataWords); err != nil {
		return fmt.Errorf("index metadata: %w", err)
	}
	return nil
}

// What a conversation shows beside what its row h says; $1 is the instance.
const (
	listedColumns = `
SELECT h.id, h.identifier, h.source, h.create_time, c.messages, c.update_time, n.metadata, n.survey, n.update_time,
    a.display_name, a.definition_display_name, a.description, a.definition_description`
	listedJoins = `
LEFT JOIN conversation c ON c.instance = $1 AND c.id = h.id
LEFT JOIN conversation_note n ON n.instance = $1 AND n.conversation_id = h.id
LEFT JOIN agent a ON a.instance = $1 AND a.id = h.agent_id`
)

// scanListed reads a row of listedColumns, and what comes behind them into more.
func scanListed(scan func(...any) error, more ...any) (ListedConversation, error) {
	var c ListedConversation
	var created int64
	var messages, said, survey, noted sql.NullInt64
	var name, definitionName, about, definitionAbout sql.NullString
	err := scan(append([]any{
		&c.ID, &c.Identifier, &c.Source, &created, &messages, &said, &c.Metadata, &survey, &noted,
		&name, &definitionName, &about, &definitionAbout,
	}, more...)...)
	if err != nil {
		return ListedConversation{}, err
	}
	if len(c.Metadata) == 0 { // the row may be there for the survey
		c.Metadata = nil
	}
	agent := Agent{
		DisplayName: name.String, DefinitionDisplayName: definitionName.String,
		Description: about.String, DefinitionDescription: definitionAbout.String,
	}
	c.AgentName, c.AgentAbout = agent.Name(), agent.About()
	c.Messages, c.Survey = messages.Int64, int32(survey.Int64)
	c.CreateTime, c.UpdateTime = sqldb.Time(created), sqldb.Time(max(created, said.Int64, noted.Int64))
	return c, nil
}

const getListed = listedColumns + `
FROM (
    SELECT id, identifier, source, agent_id, create_time FROM chat_conversation WHERE instance = $1 AND id = $2
    UNION ALL
    SELECT o.id, o.identifier, o.source, o.agent_id, o.create_time FROM conversation o WHERE o.instance = $1 AND o.id = $2
        AND NOT EXISTS (SELECT 1 FROM chat_conversation l WHERE l.instance = $1 AND l.id = $2)
) AS h` + listedJoins

// ListedConversation reads one conversation. Errors: ErrNotFound.
func (s *Store) ListedConversation(ctx context.Context, instance, id string) (ListedConversation, error) {
	c, err := scanListed(s.db.Reader().QueryRowContext(ctx, getListed, instance, id).Scan)
	if sqldb.IsNoRows(err) {
		return ListedConversation{}, ErrNotFound
	}
	if err != nil {
		return ListedConversation{}, fmt.Errorf("read conversation: %w", err)
	}
	return c, nil
}

const conversationExists = `
SELECT EXISTS (SELECT 1 FROM chat_conversation WHERE instance = $1 AND id = $2)
    OR EXISTS (SELECT 1 FROM conversation WHERE instance = $1 AND id = $2)`

func mustExist(ctx context.Context, r sqldb.Reader, instance, id string) error {
	var exists bool
	if err := r.QueryRowContext(ctx, conversationExists, instance, id).Scan(&exists); err != nil {
		return fmt.Errorf("look for conversation: %w", err)
	}
	if !exists {
		return ErrNotFound
	}
	return nil
}

// The rows by which a conversation exists, one or the other.
const (
	readListedRow = `SELECT 1 FROM chat_conversation WHERE instance = $1 AND id = $2`
	readOpenedRow = `SELECT 1 FROM conversation WHERE instance = $1 AND id = $2`
)

// hold keeps a conversation from being erased until tx ends, which could leave behind what tx writes. Errors: ErrNotFound.
func (s *Store) hold(ctx context.Context, tx sqldb.Tx, instance, id string) error {
	for _, statement := range s.dialect.holdConversation {
		var one int
		err := tx.QueryRowContext(ctx, statement, instance, id).Scan(&one)
		if !sqldb.IsNoRows(err) {
			return err
		}
	}
	return ErrNotFound
}

const readMetadata = `SELECT metadata FROM conversation_note WHERE instance = $1 AND conversation_id = $2`

const updateMetadata = `UPDATE conversation_note SET metadata = $3, update_time = $4 WHERE instance = $1 AND conversation_id = $2`

// ChangeMetadata gives change the metadata of a conversation as it is, empty when there is none, and stores what it returns: the new one,
// and what that is found by, folded. Nobody else changes it meanwhile. Errors: ErrNotFound, that of change. As every function of a
// transaction, change may run again.
func (s *Store) ChangeMetadata(
	ctx context.Context, instance, id string, now time.Time, change func(old []byte) (metadata []byte, words string, err error),
) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if err := s.hold(ctx, tx, instance, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, insertNote, instance, id, []byte{}, sqldb.Micros(now)); err != nil {
			return err
		}
		var old []byte
		if err := tx.QueryRowContext(ctx, s.dialect.lockMetadata, instance, id).Scan(&old); err != nil {
			return err
		}
		metadata, words, err := change(old)
		if err != nil {
			return &changeError{err}
		}
		if _, err := tx.ExecContext(ctx, updateMetadata, instance, id, metadata, sqldb.Micros(now)); err != nil {
			return err
		}
		return s.dialect.index.setMetadata(ctx, tx, instance, id, words)
	})
	var refused *changeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused.error
	case errors.Is(err, ErrNotFound):
		return ErrNotFound
	default:
		return fmt.Errorf("change metadata: %w", err)
	}
}

// changeError is an error that a caller's function gave.
type changeError struct{ error }

func (e *changeError) Unwrap() error { return e.error }

const upsertSurvey = `
INSERT INTO conversation_note (instance, conversation_id, metadata, survey, update_time) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (instance, conversation_id) DO UPDATE SET survey = excluded.survey, update_time = excluded.update_time`

// SetSurvey keeps how satisfied somebody was with a conversation. Errors: ErrNotFound.
func (s *Store) SetSurvey(ctx context.Context, instance, id string, survey int32, now time.Time) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if err := s.hold(ctx, tx, instance, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, upsertSurvey, instance, id, []byte{}, survey, sqldb.Micros(now))
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("set survey: %w", err)
	}
	return err
}

const upsertFeedback = `
INSERT INTO message_feedback (instance, conversation_id, turn_id, feedback, update_time) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (instance, conversation_id, turn_id) DO UPDATE SET feedback = excluded.feedback, update_time = excluded.update_time`

// SetFeedback keeps what somebody thinks of the answer of a turn. Errors: ErrNotFound when the conversation has no such turn.
func (s *Store) SetFeedback(ctx context.Context, instance, conversationID, turnID, feedback string, now time.Time) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var of string
		err := tx.QueryRowContext(ctx, conversationOfTurn, instance, turnID).Scan(&of)
		if sqldb.IsNoRows(err) || err == nil && of != conversationID {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		if err := s.hold(ctx, tx, instance, conversationID); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, upsertFeedback, instance, conversationID, turnID, feedback, sqldb.Micros(now))
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("set feedback: %w", err)
	}
	return err
}

const conversationOfTurn = `SELECT conversation_id FROM turn WHERE instance = $1 AND id = $2`

// The statements that take out all that is kept about the conversations of a JSON list beside the conversations themselves, up to the
// condition that they are in it.
const (
	deleteFeedbackOf = `DELETE FROM message_feedback WHERE instance = $1 AND conversation_id`
	deleteNotesOf    = `DELETE FROM conversation_note WHERE instance = $1 AND conversation_id`
	deleteListedOf   = `DELETE FROM chat_conversation WHERE instance = $1 AND id`
)

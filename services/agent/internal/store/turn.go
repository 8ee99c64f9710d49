package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Lane names what decides the conversation of a message.
type Lane struct {
	Instance, AgentID, EndpointID, Identifier string
}

// Position is what a turn needs to know before it runs.
type Position struct {
	// Answer is the stored answer of the turn; nil when it is not committed. The other fields are set either way.
	Answer []byte
	// Agent is the agent, with its newest version.
	Agent Agent
	// Deleted says that the agent is deleted.
	Deleted bool
	// Conversation is the open conversation of the lane; nil when there is none.
	Conversation *Conversation
}

// Conversation is where an open conversation stands.
type Conversation struct {
	ID, ContactID string
	// AgentVersion is the version of the agent that the conversation began with.
	AgentVersion int32
	AttendanceID int64
	// Epoch and LastTurn are what a turn is computed on.
	Epoch, LastTurn int64
	// LastTurnID is the id of the last turn; empty when there is none.
	LastTurnID string
	// FlowState is a serialized agentv1.FlowState.
	FlowState []byte
	// UpdateTime is when the last turn was answered.
	UpdateTime time.Time
}

// Three look-ups by unique keys in one statement.
const findPosition = `
SELECT a.assistant_id, a.display_name, a.definition_display_name, a.version, a.delete_time,
    t.answer,
    c.id, c.contact_id, c.agent_version, c.attendance_id, c.epoch, c.last_turn, c.last_turn_id, c.flow_state, c.update_time
FROM agent a
LEFT JOIN turn t ON t.instance = a.instance AND t.id = $3
LEFT JOIN conversation c ON c.instance = a.instance AND c.agent_id = a.id AND c.endpoint_id = $4 AND c.identifier = $5 AND c.state = 'OPEN'
WHERE a.instance = $1 AND a.id = $2`

// Position reads what the turn of a message begins with. ErrNotFound when there never was such an agent.
func (s *Store) Position(ctx context.Context, lane Lane, turnID string) (*Position, error) {
	p := &Position{Agent: Agent{Instance: lane.Instance, ID: lane.AgentID}}
	var (
		deleted                                       sql.NullInt64
		conversationID, contactID, lastTurnID         sql.NullString
		version, attendance, epoch, lastTurn, updated sql.NullInt64
		state                                         []byte
	)
	row := s.db.Reader().QueryRowContext(ctx, findPosition, lane.Instance, lane.AgentID, turnID, lane.EndpointID, lane.Identifier)
	err := row.Scan(&p.Agent.AssistantID, &p.Agent.DisplayName, &p.Agent.DefinitionDisplayName, &p.Agent.Version, &deleted,
		&p.Answer,
		&conversationID, &contactID, &version, &attendance, &epoch, &lastTurn, &lastTurnID, &state, &updated)
	if sqldb.IsNoRows(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read position of turn: %w", err)
	}
	p.Deleted = deleted.Valid
	if conversationID.Valid {
		p.Conversation = &Conversation{
			ID: conversationID.String, ContactID: contactID.String, AgentVersion: int32(version.Int64),
			AttendanceID: attendance.Int64, Epoch: epoch.Int64, LastTurn: lastTurn.Int64, LastTurnID: lastTurnID.String,
			FlowState: state, UpdateTime: sqldb.NullTime(updated),
		}
	}
	return p, nil
}

// Turn is a finished turn to be committed.
type Turn struct {
	Lane Lane
	// ID is the id of the message, which is the turn's.
	ID string
	// Source is where the conversation comes from; used when it opens.
	Source string
	// Conversation is the state that the turn was computed on, with FlowState that which it led to. LastTurn is 0 when the
	// conversation opens with this turn.
	Conversation Conversation
	// Finished says that the turn ended the conversation.
	Finished bool
	// HandedOver says that the turn gave the conversation to people, which raises its epoch: what was computed before does not count
	// any more.
	HandedOver bool
	// Answer is the serialized agentv1.RunTurnResponse; never empty.
	Answer []byte
	// Record is a serialized contactsv1.TurnRecord without what the answer, the conversation or the id says; it may be empty, not nil.
	Record []byte
	// Messages is how many messages the turn adds to its conversation: those of the person and the agent's answer.
	Messages int64
	// Time is when the agent answered.
	Time time.Time
	// Person is whose message it was, for the erasures that refuse to open a conversation; the zero value is refused by none.
	Person erasure.Subject
}

// After is where the conversation stands once the turn is committed; Position then gives the same.
func (t *Turn) After() Conversation {
	c := t.Conversation
	c.Epoch += t.raise()
	c.LastTurn++
	c.LastTurnID = t.ID
	c.UpdateTime = sqldb.Time(sqldb.Micros(t.Time))
	return c
}

const (
	stateOpen     = "OPEN"
	stateFinished = "FINISHED"
)

// commitTurn is how an engine stores a turn in one transaction. ErrConflict, or an error that sqldb.IsUnique knows, when the
// conversation has moved on.
type commitTurn func(ctx context.Context, t *Turn) error

// raise is by how much the turn raises the epoch of its conversation.
func (t *Turn) raise() int64 {
	if t.HandedOver {
		return 1
	}
	return 0
}

// end is how the turn leaves its conversation.
func (t *Turn) end() (state string, finish sql.NullInt64) {
	if t.Finished {
		return stateFinished, sqldb.NullMicros(t.Time)
	}
	return stateOpen, sql.NullInt64{}
}

// CommitTurn stores a turn: its conversation's new state, the turn itself, and that contacts must be told, all or nothing.
// ErrConflict when the turn is stored already or was computed on what is no longer so; ErrErased when it would open a conversation of
// somebody who was erased since the message came.
func (s *Store) CommitTurn(ctx context.Context, t *Turn) error {
	err := s.commitTurn(ctx, t)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrErased):
		return ErrErased
	case sqldb.IsUnique(err), errors.Is(err, ErrConflict):
		if erased, err := s.refusesOpening(ctx, t); err != nil || erased {
			return cmp.Or(err, ErrErased)
		}
		return ErrConflict
	default:
		return fmt.Errorf("commit turn: %w", err)
	}
}

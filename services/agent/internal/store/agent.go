package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Agent is an agent without its definition.
type Agent struct {
	Instance, ID string
	// AssistantID is the agent's number within the instance; CreateAgent gives it.
	AssistantID int64
	// DisplayName and Description are what the agent was given itself. Empty: what its newest definition says.
	DisplayName, Description string
	// DefinitionDisplayName and DefinitionDescription are what its newest definition says.
	DefinitionDisplayName, DefinitionDescription string
	// Version is the number of the newest version, from 1.
	Version                int32
	CreateTime, UpdateTime time.Time
}

// Name is the name that people see.
func (a *Agent) Name() string {
	if a.DisplayName != "" {
		return a.DisplayName
	}
	return a.DefinitionDisplayName
}

// About is the description that people see.
func (a *Agent) About() string {
	if a.Description != "" {
		return a.Description
	}
	return a.DefinitionDescription
}

// Format is the form in which a definition was sent.
type Format string

// The forms of a definition.
const (
	FormatYAML Format = "YAML"
	FormatJSON Format = "JSON"
)

// Version is a published definition.
type Version struct {
	// Format and Source are the definition as it was sent.
	Format Format
	Source []byte
	// Definition is the serialized agentv1.AgentDefinition.
	Definition []byte
	// DisplayName and Description are what the definition says; they go to the agent's row.
	DisplayName, Description string
}

const agentColumns = `id, assistant_id, display_name, description, definition_display_name, definition_description, version, create_time, update_time`

func scanAgent(instance string, scan func(...any) error) (*Agent, error) {
	a := &Agent{Instance: instance}
	var created, updated int64
	err := scan(&a.ID, &a.AssistantID, &a.DisplayName, &a.Description, &a.DefinitionDisplayName, &a.DefinitionDescription,
		&a.Version, &created, &updated)
	if err != nil {
		return nil, err
	}
	a.CreateTime, a.UpdateTime = sqldb.Time(created), sqldb.Time(updated)
	return a, nil
}

const nextAssistantID = `
INSERT INTO agent_number (instance, last_number) VALUES ($1, 1)
ON CONFLICT (instance) DO UPDATE SET last_number = agent_number.last_number + 1
RETURNING last_number`

const insertAgent = `
INSERT INTO agent (instance, id, assistant_id, display_name, description, definition_display_name, definition_description, version, create_time, update_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8)`

const insertVersion = `
INSERT INTO agent_version (instance, agent_id, version, source_format, source, definition, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)`

// CreateAgent stores a new agent with its first version, inside tx, and returns it as stored. Instance, ID, DisplayName,
// Description and CreateTime are taken from a.
func (s *Store) CreateAgent(ctx context.Context, tx sqldb.Tx, a Agent, v Version) (*Agent, error) {
	a.Version = 1
	a.UpdateTime = a.CreateTime
	a.DefinitionDisplayName, a.DefinitionDescription = v.DisplayName, v.Description
	if err := tx.QueryRowContext(ctx, nextAssistantID, a.Instance).Scan(&a.AssistantID); err != nil {
		return nil, fmt.Errorf("number agent: %w", err)
	}
	created := sqldb.Micros(a.CreateTime)
	_, err := tx.ExecContext(ctx, insertAgent, a.Instance, a.ID, a.AssistantID, a.DisplayName, a.Description,
		v.DisplayName, v.Description, created)
	if err != nil {
		return nil, fmt.Errorf("insert agent: %w", err)
	}
	_, err = tx.ExecContext(ctx, insertVersion, a.Instance, a.ID, a.Version, string(v.Format), v.Source, v.Definition, created)
	if err != nil {
		return nil, fmt.Errorf("insert version of agent: %w", err)
	}
	return &a, nil
}

// Write runs fn in a transaction, see sqldb.DB.Write.
func (s *Store) Write(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error {
	return s.db.Write(ctx, fn)
}

const listAgents = `SELECT ` + agentColumns + ` FROM agent
WHERE instance = $1 AND assistant_id > $2 AND delete_time IS NULL ORDER BY assistant_id LIMIT $3`

// ListAgents returns up to limit agents with numbers above after, in order of their numbers, which is that of their creation.
func (s *Store) ListAgents(ctx context.Context, instance string, after int64, limit int) ([]*Agent, error) {
	rows, err := s.db.Reader().QueryContext(ctx, listAgents, instance, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	defer rows.Close()
	var agents []*Agent
	for rows.Next() {
		a, err := scanAgent(instance, rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("list agents: %w", err)
		}
		agents = append(agents, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	return agents, nil
}

const getAgent = `SELECT ` + agentColumns + ` FROM agent WHERE instance = $1 AND id = $2 AND delete_time IS NULL`

// Agent returns an agent; ErrNotFound also when it is deleted.
func (s *Store) Agent(ctx context.Context, instance, id string) (*Agent, error) {
	return agentIn(ctx, s.db.Reader(), instance, id)
}

func agentIn(ctx context.Context, r sqldb.Reader, instance, id string) (*Agent, error) {
	a, err := scanAgent(instance, r.QueryRowContext(ctx, getAgent, instance, id).Scan)
	if sqldb.IsNoRows(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read agent: %w", err)
	}
	return a, nil
}

const getSource = `SELECT source_format, source FROM agent_version WHERE instance = $1 AND agent_id = $2 AND version = $3`

// Source returns the definition of a version in the form in which it was sent.
func (s *Store) Source(ctx context.Context, instance, agentID string, version int32) (Format, []byte, error) {
	var format string
	var source []byte
	err := s.db.Reader().QueryRowContext(ctx, getSource, instance, agentID, version).Scan(&format, &source)
	if sqldb.IsNoRows(err) {
		return "", nil, ErrNotFound
	}
	if err != nil {
		return "", nil, fmt.Errorf("read source of version: %w", err)
	}
	return Format(format), source, nil
}

const getDefinition = `SELECT definition FROM agent_version WHERE instance = $1 AND agent_id = $2 AND version = $3`

// Definition returns the serialized agentv1.AgentDefinition of a version.
func (s *Store) Definition(ctx context.Context, instance, agentID string, version int32) ([]byte, error) {
	var definition []byte
	err := s.db.Reader().QueryRowContext(ctx, getDefinition, instance, agentID, version).Scan(&definition)
	if sqldb.IsNoRows(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read definition of version: %w", err)
	}
	return definition, nil
}

// AgentChange is what UpdateAgent changes; nil fields stay.
type AgentChange struct {
	DisplayName, Description *string
	// Publish becomes the newest version.
	Publish *Version
}

// updateAgent also counts the version up, so that the row's lock gives concurrent publications different numbers.
const updateAgent = `
UPDATE agent SET
    display_name = COALESCE($3, display_name),
    description = COALESCE($4, description),
    definition_display_name = COALESCE($5, definition_display_name),
    definition_description = COALESCE($6, definition_description),
    version = version + $7,
    update_time = $8
WHERE instance = $1 AND id = $2 AND delete_time IS NULL
RETURNING ` + agentColumns

// UpdateAgent changes an agent and returns it as stored. ErrNotFound also when it is deleted.
func (s *Store) UpdateAgent(ctx context.Context, instance, id string, c AgentChange, now time.Time) (*Agent, error) {
	var definitionName, definitionDescription sql.NullString
	published := 0
	if c.Publish != nil {
		published = 1
		definitionName = sql.NullString{String: c.Publish.DisplayName, Valid: true}
		definitionDescription = sql.NullString{String: c.Publish.Description, Valid: true}
	}
	var updated *Agent
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		row := tx.QueryRowContext(ctx, updateAgent, instance, id, nullString(c.DisplayName), nullString(c.Description),
			definitionName, definitionDescription, published, sqldb.Micros(now))
		a, err := scanAgent(instance, row.Scan)
		if sqldb.IsNoRows(err) {
			return ErrNotFound
		}
		if err != nil {
			return fmt.Errorf("update agent: %w", err)
		}
		if v := c.Publish; v != nil {
			_, err = tx.ExecContext(ctx, insertVersion, instance, id, a.Version, string(v.Format), v.Source, v.Definition,
				sqldb.Micros(now))
			if err != nil {
				return fmt.Errorf("insert version of agent: %w", err)
			}
		}
		updated = a
		return nil
	})
	if err != nil {
		return nil, err
	}
	return updated, nil
}

func nullString(s *string) sql.NullString {
	if s == nil {
		return sql.NullString{}
	}
	return sql.NullString{String: *s, Valid: true}
}

const deleteAgent = `UPDATE agent SET delete_time = $3, update_time = $3 WHERE instance = $1 AND id = $2 AND delete_time IS NULL`

// DeleteAgent ends an agent. ErrNotFound when there is none, or it is deleted already.
func (s *Store) DeleteAgent(ctx context.Context, instance, id string, now time.Time) error {
	result, err := s.db.Exec1(ctx, deleteAgent, instance, id, sqldb.Micros(now))
	if err != nil {
		return fmt.Errorf("delete agent: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("delete agent: %w", err)
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

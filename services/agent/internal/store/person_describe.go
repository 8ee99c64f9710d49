package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// DescribedConversation is a conversation with everything in it, for the person whose it is.
type DescribedConversation struct {
	ID, ContactID, AgentID, EndpointID, Source, State string
	AgentVersion                                      int32
	AttendanceID                                      int64
	CreateTime, UpdateTime, FinishTime                time.Time
	// FlowState is a serialized agentv1.FlowState.
	FlowState []byte
	// Turns are oldest first.
	Turns []DescribedTurn
	// Records are the rows of other tables about it: column by name, and the name of the table as "table".
	Records []map[string]any
}

// DescribedTurn is a turn of a conversation. Answer and Record are as in Turn.
type DescribedTurn struct {
	ID             string
	Number         int64
	CreateTime     time.Time
	Answer, Record []byte
}

const (
	describeConversation = `
SELECT agent_id, agent_version, endpoint_id, source, attendance_id, contact_id, state, flow_state, create_time, update_time, finish_time,
    last_turn_id
FROM conversation WHERE instance = $1 AND id = $2`

	describeTurns = `
WITH RECURSIVE chain(id, number, previous_id, create_time, answer, record) AS (
    SELECT id, number, previous_id, create_time, answer, record FROM turn WHERE instance = $1 AND id = $2 AND conversation_id = $3
    UNION ALL
    SELECT t.id, t.number, t.previous_id, t.create_time, t.answer, t.record FROM chain c JOIN turn t ON t.instance = $1 AND t.id = c.previous_id
    WHERE t.conversation_id = $3
)
SELECT id, number, create_time, answer, record FROM chain ORDER BY number`
)

// besideConversations are the tables that keep more about a conversation, with the queries that read it.
var besideConversations = []struct{ table, query string }{
	{"chat_conversation", `SELECT agent_id, identifier, source, create_time FROM chat_conversation WHERE instance = $1 AND id = $2`},
	{"chat_turn", `SELECT id, text, accept_time, failure FROM chat_turn WHERE instance = $1 AND conversation_id = $2 ORDER BY number`},
	{"conversation_note", `SELECT metadata, survey, update_time FROM conversation_note WHERE instance = $1 AND conversation_id = $2`},
	{"message_feedback", `SELECT turn_id, feedback, update_time FROM message_feedback WHERE instance = $1 AND conversation_id = $2 ORDER BY turn_id`},
}

// DescribeConversation reads everything that is kept about a conversation. Of one in which nothing was said yet only ID and Records
// are set.
func (s *Store) DescribeConversation(ctx context.Context, instance, id string) (*DescribedConversation, error) {
	c := &DescribedConversation{ID: id}
	var created, updated int64
	var finished sql.NullInt64
	var last string
	r := s.db.Reader()
	err := r.QueryRowContext(ctx, describeConversation, instance, id).Scan(&c.AgentID, &c.AgentVersion, &c.EndpointID, &c.Source, &c.AttendanceID,
		&c.ContactID, &c.State, &c.FlowState, &created, &updated, &finished, &last)
	switch {
	case err == nil:
		c.CreateTime, c.UpdateTime, c.FinishTime = sqldb.Time(created), sqldb.Time(updated), sqldb.NullTime(finished)
		if c.Turns, err = describedTurns(ctx, r, instance, last, id); err != nil {
			return nil, fmt.Errorf("describe turns: %w", err)
		}
	case !sqldb.IsNoRows(err):
		return nil, fmt.Errorf("describe conversation: %w", err)
	}
	for _, beside := range besideConversations {
		records, err := rowsOf(ctx, r, beside.table, beside.query, instance, id)
		if err != nil {
			return nil, fmt.Errorf("describe what %s has: %w", beside.table, err)
		}
		c.Records = append(c.Records, records...)
	}
	return c, nil
}

func describedTurns(ctx context.Context, r sqldb.Reader, instance, last, conversation string) ([]DescribedTurn, error) {
	rows, err := r.QueryContext(ctx, describeTurns, instance, last, conversation)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var turns []DescribedTurn
	for rows.Next() {
		var t DescribedTurn
		var created int64
		if err := rows.Scan(&t.ID, &t.Number, &created, &t.Answer, &t.Record); err != nil {
			return nil, err
		}
		t.CreateTime = sqldb.Time(created)
		turns = append(turns, t)
	}
	return turns, rows.Err()
}

// rowsOf reads rows by the names of their columns.
func rowsOf(ctx context.Context, r sqldb.Reader, table, query string, args ...any) ([]map[string]any, error) {
	rows, err := r.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var all []map[string]any
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		row := map[string]any{"table": table}
		for i, column := range columns {
			row[column] = values[i]
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// ConversationFilter says which conversations of an instance are listed. All that is set must hold.
type ConversationFilter struct {
	Instance string
	// From and Until bound the creation: From on, before Until. Zero: no bound.
	From, Until time.Time
	// Search is what one of the texts of the conversation has; nil: all have it.
	Search *Search
	// Metadata is a folded text that a value of the metadata has; empty: all have it.
	Metadata string
	// Fresh are conversations that may not be listed yet because their first turn is not in the index: those of Unindexed.
	Fresh []string
}

// Search is what is searched for in conversations.
type Search struct {
	// Text is looked for, folded, in what a conversation is found by itself; and in its messages, if Messages says so, which needs three
	// characters.
	Text     string
	Messages bool
	// Agents and Sources are the agents and sources that have the text, and with them all their conversations.
	Agents, Sources []string
	// Found are conversations that have it in what is not in the index yet.
	Found []string
}

// conversationQuery is a statement about conversations that match a filter, with its parameters. Of the same filters, whatever is in them,
// the same text is made, so that few statements are kept prepared.
type conversationQuery struct {
	dialect *dialect
	text    strings.Builder
	args    []any
}

// instance is that of the filter.
func (q *conversationQuery) instance() string { return q.args[0].(string) }

func (q *conversationQuery) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

// list is the condition that a column before it is one of the values.
func (q *conversationQuery) list(values []string) string {
	if values == nil {
		values = []string{}
	}
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err) // texts always can
	}
	return q.dialect.inList(q.arg(string(raw)))
}

// found writes the common table of the conversations that have what is searched for. Without such a filter it writes nothing, and
// reports false.
func (q *conversationQuery) found(f *ConversationFilter) bool {
	if f.Search == nil && f.Metadata == "" {
		return false
	}
	q.text.WriteString("WITH found(id) AS (")
	if s := f.Search; s != nil {
		q.text.WriteString("SELECT id FROM (")
		if s.Messages {
			q.text.WriteString(q.dialect.index.foundText(q, s.Text))
		} else {
			q.text.WriteString("SELECT id FROM chat_conversation WHERE instance = $1 AND " + q.dialect.index.contains("head", q.arg(s.Text)))
		}
		if len(s.Agents)+len(s.Sources) > 0 {
			agents, sources := q.list(s.Agents), q.list(s.Sources)
			q.text.WriteString(" UNION SELECT id FROM chat_conversation WHERE instance = $1 AND (agent_id" + agents + " OR source" + sources + ")")
		}
		if len(s.Found) > 0 {
			q.text.WriteString(" UNION SELECT value FROM " + q.dialect.elements(q.arg(mustJSON(s.Found))))
		}
		q.text.WriteString(") AS s")
	}
	if f.Search != nil && f.Metadata != "" {
		q.text.WriteString(" INTERSECT ")
	}
	if f.Metadata != "" {
		q.text.WriteString("SELECT id FROM (" + q.dialect.index.foundMetadata(q, f.Metadata) + ") AS m")
	}
	q.text.WriteString(")\n")
	return true
}

func mustJSON(values []string) string {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err) // texts always can
	}
	return string(raw)
}

// span are the parameters that bound the creation.
func (q *conversationQuery) span(f *ConversationFilter) (from, until string) {
	first, end := int64(math.MinInt64), int64(math.MaxInt64)
	if !f.From.IsZero() {
		first = sqldb.Micros(f.From)
	}
	if !f.Until.IsZero() {
		end = sqldb.Micros(f.Until)
	}
	return q.arg(first), q.arg(end)
}

// newQuery begins a statement; its first parameter is the instance.
func (s *Store) newQuery(f *ConversationFilter) *conversationQuery {
	return &conversationQuery{dialect: &s.dialect, args: []any{f.Instance}}
}

// FirstConversations returns the first page of the conversations that match, and how many match in all.
func (s *Store) FirstConversations(ctx context.Context, f *ConversationFilter, limit int) (page []ListedConversation, total int64, err error) {
	q := s.newQuery(f)
	if q.found(f) {
		// One statement, for what is found costs most of it.
		page, err = s.readPage(ctx, q.counted(f, limit), &total)
		return page, total, err
	}
	q.count(f)
	if err := s.db.Reader().QueryRowContext(ctx, q.text.String(), q.args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count conversations: %w", err)
	}
	page, err = s.ListConversations(ctx, f, pagetoken.Place{}, limit)
	return page, total, err
}

// ListConversations returns up to limit conversations that match, newest first, behind a place; the zero value is before all.
func (s *Store) ListConversations(ctx context.Context, f *ConversationFilter, after pagetoken.Place, limit int) ([]ListedConversation, error) {
	q := s.newQuery(f)
	return s.readPage(ctx, q.page(f, q.found(f), after, limit), nil)
}

// readPage runs the statement of a page; with a total its rows have one more column, the same in each.
func (s *Store) readPage(ctx context.Context, q *conversationQuery, total *int64) ([]ListedConversation, error) {
	rows, err := s.db.Reader().QueryContext(ctx, q.text.String(), q.args...)
	if err != nil {
		return nil, fmt.Errorf("list conversations: %w", err)
	}
	defer rows.Close()
	var more []any
	if total != nil {
		more = append(more, total)
	}
	var page []ListedConversation
	for rows.Next() {
		c, err := scanListed(rows.Scan, more...)
		if err != nil {
			return nil, fmt.Errorf("list conversations: %w", err)
		}
		page = append(page, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list conversations: %w", err)
	}
	return page, nil
}

// count writes the statement that counts without a search.
func (q *conversationQuery) count(f *ConversationFilter) {
	from, until := q.span(f)
	q.text.WriteString(`SELECT (SELECT count(*) FROM chat_conversation h WHERE h.instance = $1 AND h.create_time >= ` + from +
		` AND h.create_time < ` + until + `)`)
	if len(f.Fresh) > 0 {
		q.text.WriteString(` + (SELECT count(*) FROM conversation x WHERE ` + q.fresh(f, from, until, false) + `)`)
	}
}

// rowColumns are what a page takes from the list.
func rowColumns(of string) string {
	return `SELECT ` + of + `.id, ` + of + `.identifier, ` + of + `.source, ` + of + `.agent_id, ` + of + `.create_time`
}

// searched is the condition of rows h that were found as f. The plus signs leave no way but from what was found to its row.
const searched = ` FROM found f JOIN chat_conversation h ON h.instance = $1 AND h.id = f.id WHERE `

// fresh is the condition of conversations x that were opened and are not in the list yet.
func (q *conversationQuery) fresh(f *ConversationFilter, from, until string, filtered bool) string {
	condition := `x.instance = $1 AND x.id` + q.list(f.Fresh) + `
    AND NOT EXISTS (SELECT 1 FROM chat_conversation l WHERE l.instance = $1 AND l.id = x.id) AND x.create_time >= ` + from +
		` AND x.create_time < ` + until
	if filtered {
		condition += ` AND x.id IN (SELECT id FROM found)`
	}
	return condition
}

// counted writes the statement of the first page of a search, which counts what there is on all pages.
func (q *conversationQuery) counted(f *ConversationFilter, limit int) *conversationQuery {
	from, until := q.span(f)
	most := q.arg(limit)
	q.text.WriteString(listedColumns + ", h.total\nFROM (SELECT u.*, count(*) OVER () AS total FROM (\n    " + rowColumns("h") + searched +
		`+h.create_time >= ` + from + ` AND +h.create_time < ` + until)
	if len(f.Fresh) > 0 {
		q.text.WriteString("\n    UNION ALL\n    " + rowColumns("x") + ` FROM conversation x WHERE ` + q.fresh(f, from, until, true))
	}
	q.text.WriteString(`) AS u ORDER BY u.create_time DESC, u.id DESC LIMIT ` + most + `) AS h` + listedJoins +
		"\nORDER BY h.create_time DESC, h.id DESC")
	return q
}

// page writes the statement of a page.
func (q *conversationQuery) page(f *ConversationFilter, filtered bool, after pagetoken.Place, limit int) *conversationQuery {
	from, until := q.span(f)
	at := int64(math.MaxInt64)
	if !after.Time.IsZero() {
		at = sqldb.Micros(after.Time)
	}
	place := "(" + q.arg(at) + ", " + q.arg(after.ID) + ")"
	most := q.arg(limit)

	q.text.WriteString(listedColumns + "\nFROM (SELECT * FROM (\n    " + rowColumns("h"))
	if filtered {
		q.text.WriteString(searched + `+h.create_time >= ` + from + ` AND +h.create_time < ` + until + ` AND (+h.create_time, h.id) < ` + place + `
    ORDER BY +h.create_time DESC, h.id DESC LIMIT ` + most)
	} else {
		q.text.WriteString(` FROM chat_conversation h
    WHERE h.instance = $1 AND h.create_time >= ` + from + ` AND h.create_time < ` + until + ` AND (h.create_time, h.id) < ` + place + `
    ORDER BY h.create_time DESC, h.id DESC LIMIT ` + most)
	}
	q.text.WriteString(`) AS p`)
	if len(f.Fresh) > 0 {
		q.text.WriteString("\n    UNION ALL\n    " + rowColumns("x") + ` FROM conversation x WHERE ` + q.fresh(f, from, until, filtered) +
			` AND (x.create_time, x.id) < ` + place)
	}
	q.text.WriteString(`) AS h` + listedJoins + "\nORDER BY h.create_time DESC, h.id DESC LIMIT " + most)
	return q
}

const agentNames = `
SELECT id, display_name, definition_display_name, description, definition_description FROM agent WHERE instance = $1`

// AgentNames gives the ids of all agents of an instance, with their names and descriptions, also of those that are deleted.
func (s *Store) AgentNames(ctx context.Context, instance string) ([]Agent, error) {
	rows, err := s.db.Reader().QueryContext(ctx, agentNames, instance)
	if err != nil {
		return nil, fmt.Errorf("read names of agents: %w", err)
	}
	defer rows.Close()
	var agents []Agent
	for rows.Next() {
		a := Agent{Instance: instance}
		if err := rows.Scan(&a.ID, &a.DisplayName, &a.DefinitionDisplayName, &a.Description, &a.DefinitionDescription); err != nil {
			return nil, fmt.Errorf("read names of agents: %w", err)
		}
		agents = append(agents, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read names of agents: %w", err)
	}
	return agents, nil
}

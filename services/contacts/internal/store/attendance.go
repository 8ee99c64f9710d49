package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Attendance is one session of a person with an agent.
type Attendance struct {
	ID            int64
	InteractionID string
	ContactID     string
	Identifier    string
	AssistantID   int64
	Source        string
	ExternalID    *string
	Interactions  int64
	CreateTime    time.Time
	FinishTime    time.Time // zero while it is open
}

// Filter says which attendances of an instance are meant; everything given must hold. Attendances never change in what is filtered
// here, so what a filter finds among numbers that are given already stays the same.
type Filter struct {
	Instance string
	// Low and High bound the numbers, both inclusive.
	Low, High   int64
	ID          *int64
	AssistantID *int64
	ExternalID  *string
	Source      *string
	// From is inclusive, Until is not. Zero is no bound.
	From, Until time.Time
	// Contacts are the persons; nil is everybody. It is looked at before People.
	Contacts []string
	// People says who is meant when they are too many for Contacts.
	People *People
}

// Extent is what a filter finds: how many, and their least and greatest number.
type Extent struct{ Count, Low, High int64 }

// fewNumbers is how many numbers are looked at one by one rather than by the days that are asked for.
const fewNumbers = 1000

// Measure counts what a filter finds.
func (s *Store) Measure(ctx context.Context, f Filter) (Extent, error) {
	query, args := s.measureQuery(f)
	var e Extent
	if err := s.db.Reader().QueryRowContext(ctx, query, args...).Scan(&e.Count, &e.Low, &e.High); err != nil {
		return Extent{}, fmt.Errorf("count attendances: %w", err)
	}
	return e, nil
}

func (s *Store) measureQuery(f Filter) (query string, args []any) {
	index := f.index()
	bounded := !f.From.IsZero() || !f.Until.IsZero()
	if index == byNumber && f.ID == nil && bounded && f.High-f.Low >= fewNumbers {
		index = byTime
	}
	where := s.where(f)
	return `SELECT count(*), COALESCE(min(id), 0), COALESCE(max(id), 0) FROM attendance` + s.dialect.using(index) + where.text, where.args
}

// Page is what a filter finds, greatest number first, limit at most.
func (s *Store) Page(ctx context.Context, f Filter, limit int) ([]Attendance, error) {
	query, args := s.pageQuery(f, limit)
	rows, err := s.db.Reader().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read attendances: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	page := make([]Attendance, 0, limit)
	for rows.Next() {
		var a Attendance
		var created int64
		var finished sql.NullInt64
		err := rows.Scan(&a.ID, &a.InteractionID, &a.ContactID, &a.Identifier, &a.AssistantID, &a.Source, &a.ExternalID,
			&a.Interactions, &created, &finished)
		if err != nil {
			return nil, fmt.Errorf("read attendances: %w", err)
		}
		a.CreateTime, a.FinishTime = sqldb.Time(created), sqldb.NullTime(finished)
		page = append(page, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read attendances: %w", err)
	}
	return page, nil
}

func (s *Store) pageQuery(f Filter, limit int) (query string, args []any) {
	where := s.where(f)
	query = `SELECT id, interaction_id, contact_id, identifier, assistant_id, source, external_id, interactions, create_time, finish_time
		FROM attendance` + s.dialect.using(f.index()) + ` CROSS JOIN progress` + where.text + `
		AND progress.instance = attendance.instance AND progress.attendance_id = attendance.id
		ORDER BY id DESC LIMIT ` + where.parameter(limit)
	return query, where.args
}

// The indexes of attendance, by what they find. The first is the primary key, which is in the order of the answer.
const (
	byNumber    = "sqlite_autoindex_attendance_1"
	byContact   = "attendance_by_contact"
	byExternal  = "attendance_by_external"
	byAssistant = "attendance_by_assistant"
	bySource    = "attendance_by_source"
	byTime      = "attendance_by_time"
)

// index is the one that finds least, and in the order of the answer.
func (f *Filter) index() string {
	switch {
	case f.ID != nil:
		return byNumber
	case f.Contacts != nil, f.People != nil:
		return byContact
	case f.ExternalID != nil:
		return byExternal
	case f.AssistantID != nil:
		return byAssistant
	case f.Source != nil:
		return bySource
	default:
		return byNumber
	}
}

// condition is a WHERE clause and its parameters. There are few different texts, so that the statements stay prepared.
type condition struct {
	text string
	args []any
}

func (c *condition) parameter(value any) string {
	c.args = append(c.args, value)
	return "$" + strconv.Itoa(len(c.args))
}

func (s *Store) where(f Filter) *condition {
	c := &condition{}
	c.text = ` WHERE attendance.instance = ` + c.parameter(f.Instance)
	if f.ID != nil {
		c.text += ` AND id = ` + c.parameter(*f.ID)
	}
	c.text += ` AND id >= ` + c.parameter(f.Low) + ` AND id <= ` + c.parameter(f.High)
	switch {
	case len(f.Contacts) == 1:
		c.text += ` AND contact_id = ` + c.parameter(f.Contacts[0])
	case f.Contacts != nil:
		c.text += ` AND contact_id` + s.dialect.texts(c.parameter(jsonList(f.Contacts)))
	case f.People != nil:
		c.text += ` AND contact_id IN (` + s.people(c, *f.People) + `)`
	}
	if f.ExternalID != nil {
		c.text += ` AND external_id = ` + c.parameter(*f.ExternalID)
	}
	if f.AssistantID != nil {
		c.text += ` AND assistant_id = ` + c.parameter(*f.AssistantID)
	}
	if f.Source != nil {
		c.text += ` AND source = ` + c.parameter(*f.Source)
	}
	if !f.From.IsZero() {
		c.text += ` AND create_time >= ` + c.parameter(sqldb.Micros(f.From))
	}
	if !f.Until.IsZero() {
		c.text += ` AND create_time < ` + c.parameter(sqldb.Micros(f.Until))
	}
	return c
}

// jsonList writes strings or numbers as the JSON array that the dialects take apart.
func jsonList[T string | int64](list []T) string {
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	return string(text)
}

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// EventFilter says which events of an instance are meant; everything given must hold. Events never change, so what a filter finds among
// numbers that are given already stays the same.
type EventFilter struct {
	Instance string
	// Low and High bound the numbers, both inclusive.
	Low, High   int64
	AssistantID *int64
	// AttendanceID is the number of the attendance.
	AttendanceID *int64
	ExternalID   *string
	// Name is what happened.
	Name *string
	// Identifier is the person's.
	Identifier *string
	// From is inclusive, Until is not. Zero is no bound.
	From, Until time.Time
}

// MeasureEvents counts what a filter finds.
func (s *Store) MeasureEvents(ctx context.Context, f EventFilter) (Extent, error) {
	query, args := s.measureEventsQuery(f)
	var e Extent
	if err := s.db.Reader().QueryRowContext(ctx, query, args...).Scan(&e.Count, &e.Low, &e.High); err != nil {
		return Extent{}, fmt.Errorf("count events: %w", err)
	}
	return e, nil
}

func (s *Store) measureEventsQuery(f EventFilter) (query string, args []any) {
	index := f.index()
	bounded := !f.From.IsZero() || !f.Until.IsZero()
	if index == eventByNumber && bounded && f.High-f.Low >= fewNumbers {
		index = eventByTime
	}
	where := s.whereEvent(f)
	return `SELECT count(*), COALESCE(min(e.id), 0), COALESCE(max(e.id), 0) FROM event AS e` + s.dialect.using(index) + where.text, where.args
}

// EventPage is what a filter finds, limit at most, and no more than about maxBytes of details unless the first alone has more: by
// greatest number first, or by the least when ascending. It reports whether there are more of them behind the page.
func (s *Store) EventPage(ctx context.Context, f EventFilter, ascending bool, limit int, maxBytes int64) (page []Event, more bool, err error) {
	query, args := s.eventPageQuery(f, ascending, limit+1)
	rows, err := s.db.Reader().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, false, fmt.Errorf("read events: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var bytes int64
	for rows.Next() {
		var source string
		e, length, err := scanEvent(rows, &source)
		if err != nil {
			return nil, false, fmt.Errorf("read events: %w", err)
		}
		e.Source = source
		bytes += int64(length + eventOverhead)
		if len(page) == limit || len(page) > 0 && bytes > maxBytes {
			return page, true, nil
		}
		page = append(page, e)
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("read events: %w", err)
	}
	return page, false, nil
}

func (s *Store) eventPageQuery(f EventFilter, ascending bool, limit int) (query string, args []any) {
	where := s.whereEvent(f)
	order := ` DESC`
	if ascending {
		order = ``
	}
	query = `SELECT ` + eventColumns + `, a.source
		FROM event AS e` + s.dialect.using(f.index()) + ` CROSS JOIN event_type AS t CROSS JOIN attendance AS a` + where.text + `
		AND t.instance = e.instance AND t.id = e.type_id AND a.instance = e.instance AND a.id = e.attendance_id
		ORDER BY e.id` + order + ` LIMIT ` + where.parameter(limit)
	return query, where.args
}

// The indexes of event, by what they find. The first is the primary key, which is in the order of the answer.
const (
	eventByNumber     = "sqlite_autoindex_event_1"
	eventByAttendance = "event_by_attendance"
	eventByExternal   = "event_by_external"
	eventByType       = "event_by_type"
	eventByAssistant  = "event_by_assistant"
	eventByTime       = "event_by_time"
)

// index is the one that finds least, and in the order of the answer unless a person is asked for.
func (f *EventFilter) index() string {
	switch {
	case f.AttendanceID != nil, f.Identifier != nil:
		return eventByAttendance
	case f.ExternalID != nil:
		return eventByExternal
	case f.Name != nil:
		return eventByType
	case f.AssistantID != nil:
		return eventByAssistant
	default:
		return eventByNumber
	}
}

func (s *Store) whereEvent(f EventFilter) *condition {
	c := &condition{}
	c.text = ` WHERE e.instance = ` + c.parameter(f.Instance)
	c.text += ` AND e.id >= ` + c.parameter(f.Low) + ` AND e.id <= ` + c.parameter(f.High)
	if f.AttendanceID != nil {
		c.text += ` AND e.attendance_id = ` + c.parameter(*f.AttendanceID)
	}
	if f.Identifier != nil {
		c.text += ` AND e.attendance_id` + s.dialect.among(`SELECT o.id FROM contact AS p CROSS JOIN attendance AS o
			WHERE p.instance = $1 AND p.identifier = `+c.parameter(*f.Identifier)+` AND o.instance = $1 AND o.contact_id = p.id`)
	}
	if f.ExternalID != nil {
		c.text += ` AND e.external_id = ` + c.parameter(*f.ExternalID)
	}
	if f.Name != nil {
		c.text += ` AND e.type_id = (SELECT n.id FROM event_type AS n WHERE n.instance = $1 AND n.name = ` + c.parameter(*f.Name) + `)`
	}
	if f.AssistantID != nil {
		c.text += ` AND e.assistant_id = ` + c.parameter(*f.AssistantID)
	}
	if !f.From.IsZero() {
		c.text += ` AND e.time >= ` + c.parameter(sqldb.Micros(f.From))
	}
	if !f.Until.IsZero() {
		c.text += ` AND e.time < ` + c.parameter(sqldb.Micros(f.Until))
	}
	return c
}

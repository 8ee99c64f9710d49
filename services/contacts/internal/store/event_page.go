package store

import (
	"context"
	"database/sql"
	"fmt"
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
	// From is inclusive, Until is not, in Unix microseconds; nil is no bound.
	From, Until *int64
	// Numbers are those that SelectEvents gave for this filter, or some of them. EventPage then reads these and looks at nothing else.
	Numbers []int64
}

// Contiguous reports whether the events that a filter finds lie one behind the other in an index, as Filter.Contiguous does.
func (f *EventFilter) Contiguous() bool {
	return f.Identifier == nil && f.From == nil && f.Until == nil && f.equalities() <= 1
}

// OnlyTimes reports whether nothing but times is asked for.
func (f *EventFilter) OnlyTimes() bool {
	return f.Identifier == nil && f.equalities() == 0 && (f.From != nil || f.Until != nil)
}

// equalities is how many of the columns that begin an index must be equal to something.
func (f *EventFilter) equalities() (n int) {
	for _, asked := range []bool{f.AttendanceID != nil, f.ExternalID != nil, f.Name != nil, f.AssistantID != nil} {
		if asked {
			n++
		}
	}
	return n
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
	where := s.whereEvent(f)
	return `SELECT count(*), COALESCE(min(e.id), 0), COALESCE(max(e.id), 0) FROM event AS e` + s.dialect.using(f.measureIndex()) + where.text,
		where.args
}

// SelectEvents is the numbers of all that a filter finds, the least first.
func (s *Store) SelectEvents(ctx context.Context, f EventFilter) ([]int64, error) {
	query, args := s.selectEventsQuery(f)
	var list sql.NullString
	if err := s.db.Reader().QueryRowContext(ctx, query, args...).Scan(&list); err != nil {
		return nil, fmt.Errorf("select events: %w", err)
	}
	return parseNumbers(list.String)
}

func (s *Store) selectEventsQuery(f EventFilter) (query string, args []any) {
	where := s.whereEvent(f)
	return `SELECT string_agg(CAST(e.id AS TEXT), ',') FROM event AS e` + s.dialect.using(f.measureIndex()) + where.text, where.args
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
	if consecutive(f.Numbers) { // as one piece they are read faster
		f = EventFilter{Instance: f.Instance, Low: f.Numbers[0], High: f.Numbers[len(f.Numbers)-1]}
	}
	direction := ` DESC`
	if ascending {
		direction = ``
	}
	index := f.index()
	where, from := &condition{}, `event AS e`+s.dialect.using(index)
	order := ` ORDER BY e.id` + direction
	switch column := eventColumnOf[index]; {
	case f.Numbers != nil:
		where.parameter(f.Instance)
		from, where.text = s.dialect.picked(`event`, `e`, eventByNumber, where.parameter(jsonList(f.Numbers)))
		where.text = ` WHERE ` + where.text
	case column != "" && f.Contiguous():
		where.text = ` WHERE e.instance = ` + where.parameter(f.Instance)
		where.text += s.dialect.run(column, `e.id`, f.value(where), where.parameter(f.Low), where.parameter(f.High))
		order = ` ORDER BY ` + s.dialect.runOrder(column, `e.id`, direction)
	case f.OnlyTimes():
		where.text = ` WHERE e.instance = ` + where.parameter(f.Instance) +
			` AND e.id >= ` + where.parameter(f.Low) + ` AND e.id <= ` + where.parameter(f.High)
		where.days(s.dialect.passing(`e.time`), f.From, f.Until)
	default:
		where = s.whereEvent(f)
	}
	types, typed := s.dialect.one(`event_type`, `t`, `t.instance = e.instance AND t.id = e.type_id`)
	owners, owned := s.dialect.one(`attendance`, `a`, `a.instance = e.instance AND a.id = e.attendance_id`)
	return `SELECT ` + eventColumns + `, a.source FROM ` + from + types + owners + where.text + typed + owned + order +
		` LIMIT ` + where.parameter(limit), where.args
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

// measureIndex is the one that finds least, in any order.
func (f *EventFilter) measureIndex() string {
	if f.OnlyTimes() && f.High-f.Low >= fewNumbers {
		return eventByTime
	}
	return f.index()
}

// eventColumnOf is the column by which an index has its events in the order of the answer.
var eventColumnOf = map[string]string{
	eventByAttendance: "e.attendance_id", eventByExternal: "e.external_id", eventByType: "e.type_id", eventByAssistant: "e.assistant_id",
}

// value is what the one column that is asked for must be, as it is written in a condition.
func (f *EventFilter) value(c *condition) string {
	switch {
	case f.AttendanceID != nil:
		return c.parameter(*f.AttendanceID)
	case f.ExternalID != nil:
		return c.parameter(*f.ExternalID)
	case f.Name != nil:
		return c.typeOf(*f.Name)
	default:
		return c.parameter(*f.AssistantID)
	}
}

// typeOf is the number of an event's name.
func (c *condition) typeOf(name string) string {
	return `(SELECT n.id FROM event_type AS n WHERE n.instance = $1 AND n.name = ` + c.parameter(name) + `)`
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
		c.text += ` AND e.type_id = ` + c.typeOf(*f.Name)
	}
	if f.AssistantID != nil {
		c.text += ` AND e.assistant_id = ` + c.parameter(*f.AssistantID)
	}
	c.days(`e.time`, f.From, f.Until)
	return c
}

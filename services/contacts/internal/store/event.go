package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Event is something that a flow reported, or an import brought. The store sets ID, AssistantID, AttendanceID, TypeID and Source.
type Event struct {
	ID           int64
	AssistantID  int64
	AttendanceID int64
	// TypeID is the number of the name.
	TypeID         int64
	Name           string
	ExternalID     *string
	Extra1, Extra2 *string
	Details        map[string]string
	Time           time.Time
	// Source is the attendance's. Only EventPage gives it.
	Source string
}

var insertEvents = newBulk(`
	INSERT INTO event (instance, id, attendance_id, assistant_id, type_id, external_id, extra1, extra2, details, time) VALUES `,
	[]string{"$1", "?", "?", "?", "?", "?", "?", "?", "?", "?"}, ``)

// recordEvents stores the events of turns, numbered in the turns' order.
func (s *Store) recordEvents(ctx context.Context, tx sqldb.Tx, instance string, turns []*Turn, owners map[int64]owner) error {
	type numbered struct {
		event   *Event
		turn    *Turn
		details []byte
	}
	var events []numbered
	for _, t := range turns {
		for i := range t.Events {
			details, err := json.Marshal(t.Events[i].Details)
			if err != nil {
				return fmt.Errorf("encode details of event: %w", err)
			}
			events = append(events, numbered{event: &t.Events[i], turn: t, details: details})
		}
	}
	if len(events) == 0 {
		return nil
	}
	names := make(map[string]bool)
	for _, e := range events {
		names[e.event.Name] = true
	}
	types, err := s.ensureEventTypes(ctx, tx, instance, names)
	if err != nil {
		return err
	}
	last, err := takeNumbers(ctx, tx, instance, countEvent, len(events))
	if err != nil {
		return err
	}
	first := last - int64(len(events)) + 1
	err = s.bulk(insertEvents).Split(len(events), func(query string, from, to int) error {
		args := make([]any, 0, 1+9*(to-from))
		args = append(args, instance)
		for i, e := range events[from:to] {
			args = append(args, first+int64(from+i), e.turn.AttendanceID, owners[e.turn.AttendanceID].assistant,
				types[e.event.Name], optional(e.event.ExternalID), optional(e.event.Extra1), optional(e.event.Extra2),
				string(e.details), sqldb.Micros(e.event.Time))
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("insert events: %w", err)
	}
	return nil
}

// optional is a text or NULL.
func optional(text *string) any {
	if text == nil {
		return nil
	}
	return *text
}

// Events are the events of attendances, by their number, each list oldest first.
func (s *Store) Events(ctx context.Context, instance string, attendances []int64) (map[int64][]Event, error) {
	rows, err := s.db.Reader().QueryContext(ctx, s.eventsQuery(), instance, jsonList(attendances))
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	events := make(map[int64][]Event)
	for rows.Next() {
		e, _, err := scanEvent(rows)
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		events[e.AttendanceID] = append(events[e.AttendanceID], e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}

func (s *Store) eventsQuery() string {
	return `SELECT ` + eventColumns + `
		FROM event e JOIN event_type t ON t.instance = e.instance AND t.id = e.type_id
		WHERE e.instance = $1 AND e.attendance_id` + s.dialect.numbers("$2") + `
		ORDER BY e.attendance_id, e.id`
}

// eventColumns are what scanEvent scans, of an event e and its type t.
const eventColumns = `e.id, e.assistant_id, e.attendance_id, e.type_id, t.name, e.external_id, e.extra1, e.extra2, e.details, e.time`

// scanEvent scans eventColumns, and behind them what there is more. It gives the length of the details as they are stored, too.
func scanEvent(rows *sql.Rows, more ...any) (e Event, length int, err error) {
	var details string
	var at int64
	dest := append([]any{
		&e.ID, &e.AssistantID, &e.AttendanceID, &e.TypeID, &e.Name, &e.ExternalID, &e.Extra1, &e.Extra2, &details, &at,
	}, more...)
	if err := rows.Scan(dest...); err != nil {
		return Event{}, 0, err
	}
	if err := json.Unmarshal([]byte(details), &e.Details); err != nil {
		return Event{}, 0, fmt.Errorf("decode details of event %d: %w", e.ID, err)
	}
	e.Time = sqldb.Time(at)
	return e, len(details), nil
}

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Turn is a finished turn.
type Turn struct {
	// ID makes a repetition known. It is unique in the instance.
	ID           string
	AttendanceID int64
	// Items is what was said, as History gives it back. Never nil.
	Items []byte
	// Spoken is how many messages the person sent: one in a turn, any number in what was imported.
	Spoken int64
	// Finish is when the attendance ended with this turn; zero if it did not.
	Finish     time.Time
	Events     []Event
	Attributes []Attribute
}

// RecordTurns stores turns, those of one attendance in order, all or none, and returns how many of them are new. Turns that it has
// already are ignored. So are those of attendances that the instance does not have, because they were erased: unknown has their
// numbers, each once.
func (s *Store) RecordTurns(ctx context.Context, instance string, turns []Turn) (fresh int, unknown []int64, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var kept []*Turn
		var err error
		kept, unknown, err = s.dialect.recordTurns(ctx, tx, instance, turns)
		if err != nil {
			return err
		}
		fresh = len(kept)
		return s.recordFindings(ctx, tx, instance, kept)
	})
	return fresh, unknown, err
}

// recordFindings stores the events and attributes of turns that are new. Most turns have neither.
func (s *Store) recordFindings(ctx context.Context, tx sqldb.Tx, instance string, turns []*Turn) error {
	var found []*Turn
	for _, t := range turns {
		if len(t.Events) > 0 || len(t.Attributes) > 0 {
			found = append(found, t)
		}
	}
	if len(found) == 0 {
		return nil
	}
	owners, err := s.owners(ctx, tx, instance, found)
	if err != nil {
		return err
	}
	if err := s.recordEvents(ctx, tx, instance, found, owners); err != nil {
		return err
	}
	var learned []ownedAttribute
	for _, t := range found {
		for _, a := range t.Attributes {
			learned = append(learned, ownedAttribute{contact: owners[t.AttendanceID].contact, Attribute: a})
		}
	}
	return s.writeAttributes(ctx, tx, instance, learned)
}

// owner is what the events and attributes of an attendance's turns take over from it.
type owner struct {
	contact   string
	assistant int64
}

// owners gives the attendances of turns, by their number.
func (s *Store) owners(ctx context.Context, tx sqldb.Tx, instance string, turns []*Turn) (map[int64]owner, error) {
	numbers := make([]int64, len(turns))
	for i, t := range turns {
		numbers[i] = t.AttendanceID
	}
	rows, err := tx.QueryContext(ctx, s.ownersQuery(), instance, jsonList(numbers))
	if err != nil {
		return nil, fmt.Errorf("read attendances of turns: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	owners := make(map[int64]owner, len(turns))
	for rows.Next() {
		var id int64
		var o owner
		if err := rows.Scan(&id, &o.contact, &o.assistant); err != nil {
			return nil, fmt.Errorf("read attendances of turns: %w", err)
		}
		owners[id] = o
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read attendances of turns: %w", err)
	}
	return owners, nil
}

func (s *Store) ownersQuery() string {
	return `SELECT id, contact_id, assistant_id FROM attendance
		WHERE instance = $1 AND id` + s.dialect.numbers("$2")
}

package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
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
	// Spoke says that the person said something.
	Spoke bool
	// Finish is when the attendance ended with this turn; zero if it did not.
	Finish     time.Time
	Events     []Event
	Attributes []Attribute
}

// RecordTurns stores turns, those of one attendance in order, all or none, and returns how many of them are new. Turns that it has
// already are ignored. It fails with *AttendanceNotFoundError.
func (s *Store) RecordTurns(ctx context.Context, instance string, turns []Turn) (fresh int, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		kept, err := insertTurns(ctx, tx, instance, turns)
		if err != nil || len(kept) == 0 {
			fresh = 0
			return err
		}
		owners, err := s.raiseAttendances(ctx, tx, instance, kept)
		if err != nil {
			return err
		}
		if err := s.recordEvents(ctx, tx, instance, kept, owners); err != nil {
			return err
		}
		var learned []ownedAttribute
		for _, t := range kept {
			for _, a := range t.Attributes {
				learned = append(learned, ownedAttribute{contact: owners[t.AttendanceID].contact, Attribute: a})
			}
		}
		fresh = len(kept)
		if len(learned) == 0 {
			return nil
		}
		return writeAttributes(ctx, tx, instance, learned)
	})
	return fresh, err
}

var insertTurn = sqldb.NewBulk(`
	INSERT INTO turn (instance, turn_id, attendance_id, items) VALUES `,
	[]string{"$1", "?", "?", "?"}, `
	ON CONFLICT (instance, turn_id) DO NOTHING RETURNING turn_id`)

// insertTurns stores what was said and gives the turns that are new.
func insertTurns(ctx context.Context, tx sqldb.Tx, instance string, turns []Turn) ([]*Turn, error) {
	unseen := make(map[string]bool, len(turns)) // a turn may come twice in one call
	err := insertTurn.Split(len(turns), func(query string, from, to int) (err error) {
		args := make([]any, 0, 1+3*(to-from))
		args = append(args, instance)
		for i := range turns[from:to] {
			t := &turns[from+i]
			args = append(args, t.ID, t.AttendanceID, t.Items)
		}
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err below has what went wrong
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			unseen[id] = true
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("insert turns: %w", err)
	}
	kept := make([]*Turn, 0, len(unseen))
	for i := range turns {
		if unseen[turns[i].ID] {
			delete(unseen, turns[i].ID)
			kept = append(kept, &turns[i])
		}
	}
	return kept, nil
}

// owner is what the records of an attendance's turns take over from it.
type owner struct {
	contact   string
	assistant int64
}

// raiseAttendances counts what the persons said and ends what is finished; a first end stays. It gives the attendances of the turns.
func (s *Store) raiseAttendances(ctx context.Context, tx sqldb.Tx, instance string, turns []*Turn) (map[int64]owner, error) {
	type raise struct {
		id, spoken int64
		finish     sql.NullInt64
	}
	byID := make(map[int64]*raise)
	for _, t := range turns {
		r := byID[t.AttendanceID]
		if r == nil {
			r = &raise{id: t.AttendanceID}
			byID[t.AttendanceID] = r
		}
		if t.Spoke {
			r.spoken++
		}
		if !r.finish.Valid {
			r.finish = sqldb.NullMicros(t.Finish)
		}
	}
	raises := make([]*raise, 0, len(byID))
	for _, r := range byID {
		raises = append(raises, r)
	}
	slices.SortFunc(raises, func(a, b *raise) int { return cmp.Compare(a.id, b.id) })

	owners := make(map[int64]owner, len(raises))
	err := s.dialect.raise.Split(len(raises), func(query string, from, to int) error {
		args := make([]any, 0, 1+3*(to-from))
		args = append(args, instance)
		for _, r := range raises[from:to] {
			args = append(args, r.id, r.spoken, r.finish)
		}
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err below has what went wrong
		for rows.Next() {
			var id int64
			var o owner
			if err := rows.Scan(&id, &o.contact, &o.assistant); err != nil {
				return err
			}
			owners[id] = o
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("raise attendances: %w", err)
	}
	for _, r := range raises {
		if _, ok := owners[r.id]; !ok {
			return nil, &AttendanceNotFoundError{ID: r.id}
		}
	}
	return owners, nil
}

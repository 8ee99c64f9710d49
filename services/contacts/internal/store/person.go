package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// ErrErased says that the person was erased after what is to be stored came. Nothing was stored.
var ErrErased = errors.New("the person was erased")

// openedIn is the table whose INSERT looks for erasures: nothing of a person is stored without an attendance.
const openedIn = "attendance"

// eraseBatch is how many attendances one transaction deletes.
const eraseBatch = 8

// The kinds of things that erasing counts.
const (
	KindContacts    = "contacts"
	KindAttributes  = "attributes"
	KindAttendances = "attendances"
	KindTurns       = "attendanceTurns"
	KindEvents      = "events"
)

// Contact is a person.
type Contact struct {
	ID         string
	CreateTime time.Time
}

// Contact finds a person by the identifier; nil when nobody is known by it.
func (s *Store) Contact(ctx context.Context, instance, identifier string) (*Contact, error) {
	var c Contact
	var created int64
	err := s.db.Reader().QueryRowContext(ctx, `SELECT id, create_time FROM contact WHERE instance = $1 AND identifier = $2`,
		instance, identifier).Scan(&c.ID, &created)
	if sqldb.IsNoRows(err) {
		return nil, nil //nolint:nilnil // nobody is no error
	}
	if err != nil {
		return nil, fmt.Errorf("find contact: %w", err)
	}
	c.CreateTime = sqldb.Time(created)
	return &c, nil
}

// Interactions are the interaction ids of a person's attendances: of those that were opened up to a time, and later ones.
func (s *Store) Interactions(ctx context.Context, instance, contact string, cut time.Time) (upTo, later []string, err error) {
	all, err := attendancesOf(ctx, s.db.Reader(), instance, contact)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range all {
		if a.created > sqldb.Micros(cut) {
			later = append(later, a.interaction)
		} else {
			upTo = append(upTo, a.interaction)
		}
	}
	return upTo, later, nil
}

// personAttendance is an attendance of a person.
type personAttendance struct {
	number, created int64
	interaction     string
}

// attendancesOf are a person's attendances.
func attendancesOf(ctx context.Context, r sqldb.Reader, instance, contact string) ([]personAttendance, error) {
	rows, err := r.QueryContext(ctx, `
		SELECT id, interaction_id, create_time FROM attendance WHERE instance = $1 AND contact_id = $2 ORDER BY id`, instance, contact)
	if err != nil {
		return nil, fmt.Errorf("find attendances of contact: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var all []personAttendance
	for rows.Next() {
		var a personAttendance
		if err := rows.Scan(&a.number, &a.interaction, &a.created); err != nil {
			return nil, fmt.Errorf("find attendances of contact: %w", err)
		}
		all = append(all, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find attendances of contact: %w", err)
	}
	return all, nil
}

// attendancesUpTo are the numbers of those that were opened up to a time, limit at most; 0 is no limit.
func attendancesUpTo(ctx context.Context, r sqldb.Reader, instance, contact string, cut time.Time, limit int) ([]int64, error) {
	all, err := attendancesOf(ctx, r, instance, contact)
	var numbers []int64
	for _, a := range all {
		if a.created <= sqldb.Micros(cut) && (limit == 0 || len(numbers) < limit) {
			numbers = append(numbers, a.number)
		}
	}
	return numbers, err
}

// CountPerson counts what EraseAttendances and EraseContact would delete.
func (s *Store) CountPerson(ctx context.Context, instance, contact string, cut time.Time) (map[string]int64, error) {
	r := s.db.Reader()
	numbers, err := attendancesUpTo(ctx, r, instance, contact, cut, 0)
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{KindContacts: 1, KindAttendances: int64(len(numbers))}
	list := jsonList(numbers)
	for _, c := range []struct {
		kind, query string
		by          any
	}{
		{KindAttributes, `SELECT count(*) FROM contact_attribute WHERE instance = $1 AND contact_id = $2`, contact},
		{KindTurns, `SELECT count(*) FROM (` + s.dialect.history + `) AS said`, list},
		{KindEvents, `SELECT count(*) FROM event WHERE instance = $1 AND attendance_id` + s.dialect.numbers("$2"), list},
	} {
		var n int64
		if err := r.QueryRowContext(ctx, c.query, instance, c.by).Scan(&n); err != nil {
			return nil, fmt.Errorf("count %s: %w", c.kind, err)
		}
		counts[c.kind] = n
	}
	return counts, nil
}

// BeginErasure stores the record of an erasure; see [erasure.Begin].
func (s *Store) BeginErasure(ctx context.Context, r erasure.Record) error {
	return erasure.Begin(ctx, s.db, r, openedIn)
}

// EraseAttendances deletes some of the attendances of a person that were opened up to a time, with everything in them, in one short
// transaction, and adds to counts how many of which kind; more says that there are further ones.
func (s *Store) EraseAttendances(ctx context.Context, instance, contact string, cut time.Time, counts map[string]int64) (more bool, err error) {
	var deleted map[string]int64
	err = s.db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		numbers, err := attendancesUpTo(ctx, tx, instance, contact, cut, eraseBatch)
		if err != nil {
			return err
		}
		more = len(numbers) == eraseBatch
		deleted, err = s.deleteAttendances(ctx, tx, instance, numbers)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("erase attendances: %w", err)
	}
	for kind, n := range deleted {
		counts[kind] += n
	}
	return more, nil
}

// deleteAttendances deletes attendances with everything in them. On PostgreSQL their progress is locked first: a turn that is being
// recorded is stored by then, and deleted, or finds no attendance any more.
func (s *Store) deleteAttendances(ctx context.Context, tx sqldb.Tx, instance string, numbers []int64) (map[string]int64, error) {
	if len(numbers) == 0 {
		return nil, nil //nolint:nilnil // nothing was deleted
	}
	list := jsonList(numbers)
	if s.dialect.lockProgress != "" {
		if _, err := tx.ExecContext(ctx, s.dialect.lockProgress, instance, list); err != nil {
			return nil, fmt.Errorf("lock progress: %w", err)
		}
	}
	counts := make(map[string]int64)
	for _, step := range []struct{ kind, query string }{
		{KindTurns, s.dialect.deleteTurns},
		{KindEvents, `DELETE FROM event WHERE instance = $1 AND attendance_id` + s.dialect.numbers("$2")},
		{"", `DELETE FROM progress WHERE instance = $1 AND attendance_id` + s.dialect.numbers("$2")},
		{KindAttendances, `DELETE FROM attendance WHERE instance = $1 AND id` + s.dialect.numbers("$2")},
	} {
		result, err := tx.ExecContext(ctx, step.query, instance, list)
		if err != nil {
			return nil, fmt.Errorf("delete what attendances have: %w", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return nil, fmt.Errorf("delete what attendances have: %w", err)
		}
		if step.kind != "" {
			counts[step.kind] = n
		}
	}
	for counter, n := range map[string]int64{countAttendance: counts[KindAttendances], countEvent: counts[KindEvents]} {
		if n == 0 {
			continue
		}
		if _, err := tx.ExecContext(ctx, `UPDATE counter SET live = live - $3 WHERE instance = $1 AND name = $2`, instance, counter, n); err != nil {
			return nil, fmt.Errorf("count what was deleted: %w", err)
		}
	}
	return counts, nil
}

// EraseContact deletes what is known about a person, and the person too unless they have an attendance again: then they came back.
func (s *Store) EraseContact(ctx context.Context, instance, contact string, counts map[string]int64) error {
	var attributes, people int64
	err := s.db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) (err error) {
		attributes, people, err = s.deleteContact(ctx, tx, instance, contact)
		return err
	})
	if err != nil {
		return fmt.Errorf("erase contact: %w", err)
	}
	counts[KindAttributes] += attributes
	counts[KindContacts] += people
	return nil
}

// deleteContact on PostgreSQL first waits for who opens attendances: one of the person is seen then, and whoever comes later makes the
// person known anew.
func (s *Store) deleteContact(ctx context.Context, tx sqldb.Tx, instance, contact string) (attributes, people int64, err error) {
	if s.db.Dialect() == sqldb.Postgres {
		if _, err := tx.ExecContext(ctx, `LOCK TABLE `+openedIn+` IN SHARE MODE`); err != nil {
			return 0, 0, err
		}
	}
	result, err := tx.ExecContext(ctx, `DELETE FROM contact_attribute WHERE instance = $1 AND contact_id = $2`, instance, contact)
	if err != nil {
		return 0, 0, err
	}
	if attributes, err = result.RowsAffected(); err != nil {
		return 0, 0, err
	}
	result, err = tx.ExecContext(ctx, `
		DELETE FROM contact WHERE instance = $1 AND id = $2
			AND NOT EXISTS (SELECT 1 FROM attendance WHERE instance = $1 AND contact_id = $2)`, instance, contact)
	if err != nil {
		return 0, 0, err
	}
	people, err = result.RowsAffected()
	return attributes, people, err
}

// FinishErasure notes that everything was deleted.
func (s *Store) FinishErasure(ctx context.Context, r erasure.Record, now time.Time) error {
	return erasure.Finish(ctx, s.db, r, now)
}

// MissingErasures are those that the store does not know to be done, and those that it began and did not end.
func (s *Store) MissingErasures(ctx context.Context, records []erasure.Record) ([]erasure.Record, error) {
	return erasure.Missing(ctx, s.db.Reader(), records)
}

// identifiersAtOnce is how many identifiers one query reads.
const identifiersAtOnce = 1000

// Identifiers are the identifiers of an instance's persons, in order, some at a time; see [erasure.Identifiers].
func (s *Store) Identifiers(ctx context.Context, instance, cursor string) (page []string, next string, err error) {
	rows, err := s.db.Reader().QueryContext(ctx, `
		SELECT identifier FROM contact WHERE instance = $1 AND identifier > $2 ORDER BY identifier LIMIT $3`, instance, cursor, identifiersAtOnce)
	if err != nil {
		return nil, "", fmt.Errorf("list identifiers: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	for rows.Next() {
		var identifier string
		if err := rows.Scan(&identifier); err != nil {
			return nil, "", fmt.Errorf("list identifiers: %w", err)
		}
		page = append(page, identifier)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("list identifiers: %w", err)
	}
	if len(page) == identifiersAtOnce {
		next = page[len(page)-1]
	}
	return page, next, nil
}

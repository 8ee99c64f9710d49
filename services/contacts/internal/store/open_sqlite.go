package store

import (
	"context"
	"fmt"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Openings that come while the disk is busy share statements of many rows, which cost a fraction of as many statements.

// The statements that look something up number their rows, and give what they find with the number. CROSS JOIN keeps the rows the
// outer loop, from which the tables are searched by their keys.
var (
	sqliteFindRequests = sqldb.NewSQLiteBulk(`
		SELECT v.column1, a.id, a.interaction_id, a.contact_id FROM (VALUES `,
		[]string{"?", "?", "?"}, `) AS v CROSS JOIN attendance AS a
		WHERE a.instance = v.column2 AND a.request_id = v.column3`)

	sqliteFindContacts = sqldb.NewSQLiteBulk(`
		SELECT v.column1, c.id FROM (VALUES `,
		[]string{"?", "?", "?"}, `) AS v CROSS JOIN contact AS c
		WHERE c.instance = v.column2 AND c.identifier = v.column3`)

	sqliteFindAttributes = sqldb.NewSQLiteBulk(`
		SELECT v.column1, a.name, a.value FROM (VALUES `,
		[]string{"?", "?", "?"}, `) AS v CROSS JOIN contact_attribute AS a
		WHERE a.instance = v.column2 AND a.contact_id = v.column3`)

	sqliteInsertContacts = sqldb.NewSQLiteBulk(`
		INSERT INTO contact (instance, id, identifier, create_time) VALUES `,
		[]string{"?", "?", "?", "?"}, ``)

	sqliteInsertAttendances = sqldb.NewSQLiteBulk(`
		INSERT INTO attendance (instance, id, interaction_id, contact_id, identifier, assistant_id, source, request_id, create_time) VALUES `,
		[]string{"?", "?", "?", "?", "?", "?", "?", "?", "?"}, ``)

	sqliteInsertProgress = sqldb.NewSQLiteBulk(`
		INSERT INTO progress (instance, attendance_id, interactions, history_bytes) VALUES `,
		[]string{"?", "?", "0", "0"}, ``)
)

// opening is one opening on its way through a batch.
type opening struct {
	Opening
	guard  *erasure.Guard
	opened Opened
	erased bool
}

// newSQLiteOpen opens attendances many at a time.
func newSQLiteOpen(db *sqldb.DB) openAttendance {
	guard := erasure.GuardOf(db)
	batch := sqldb.NewBatcher(db, openAll)
	return func(ctx context.Context, o Opening) (Opened, error) {
		one := opening{Opening: o, guard: guard}
		if err := batch.Do(ctx, &one); err != nil {
			return Opened{}, err
		}
		if one.erased {
			return Opened{}, ErrErased
		}
		return one.opened, nil
	}
}

// openAll opens attendances, or finds those that are open already. Of one request, the second finds what the first opened.
func openAll(ctx context.Context, tx sqldb.Tx, batch []*opening) error {
	type request struct{ instance, id string }
	for _, round := range rounds(batch, func(o **opening) request { return request{(*o).Instance, (*o).RequestID} }) {
		openings := make([]*opening, len(round))
		for i, o := range round {
			openings[i] = *o
		}
		if err := openRound(ctx, tx, openings); err != nil {
			return err
		}
	}
	return nil
}

// openRound opens attendances of different requests.
func openRound(ctx context.Context, tx sqldb.Tx, round []*opening) error {
	for _, o := range round {
		o.opened, o.erased = Opened{}, false
	}
	if err := findRequests(ctx, tx, round); err != nil {
		return err
	}
	unopened := make([]*opening, 0, len(round))
	for _, o := range round {
		if o.opened.Repeated {
			continue
		}
		var err error
		if o.erased, err = o.guard.Refuses(ctx, tx, o.Person); err != nil {
			return err
		}
		if !o.erased {
			unopened = append(unopened, o)
		}
	}
	if err := ensureContacts(ctx, tx, unopened); err != nil {
		return err
	}
	if err := readAttributes(ctx, tx, round); err != nil {
		return err
	}
	return insertAttendances(ctx, tx, unopened)
}

// findRequests gives the openings that are repeated what was opened then.
func findRequests(ctx context.Context, tx sqldb.Tx, round []*opening) error {
	var number, attendance int64
	var interaction, contact string
	err := find(ctx, tx, sqliteFindRequests, round,
		func(o *opening) (string, string) { return o.Instance, o.RequestID },
		[]any{&number, &attendance, &interaction, &contact},
		func() {
			round[number].opened = Opened{AttendanceID: attendance, InteractionID: interaction, ContactID: contact, Repeated: true}
		})
	if err != nil {
		return fmt.Errorf("find attendances of requests: %w", err)
	}
	return nil
}

// ensureContacts makes the persons known, and gives each opening its person.
func ensureContacts(ctx context.Context, tx sqldb.Tx, unopened []*opening) error {
	var number int64
	var contact string
	err := find(ctx, tx, sqliteFindContacts, unopened,
		func(o *opening) (string, string) { return o.Instance, o.Identifier },
		[]any{&number, &contact},
		func() { unopened[number].opened.ContactID = contact })
	if err != nil {
		return fmt.Errorf("find contacts: %w", err)
	}
	type person struct{ instance, identifier string }
	added := make(map[person]string) // a person may open two attendances in one batch
	var fresh []*opening
	for _, o := range unopened {
		if o.opened.ContactID != "" {
			continue
		}
		p := person{o.Instance, o.Identifier}
		if added[p] == "" {
			added[p] = o.ContactID
			fresh = append(fresh, o)
		}
		o.opened.ContactID = added[p]
	}
	return insert(ctx, tx, sqliteInsertContacts, fresh, "contacts", func(args []any, o *opening) []any {
		return append(args, o.Instance, o.ContactID, o.Identifier, sqldb.Micros(o.Time))
	})
}

// readAttributes gives the openings of persons who were known before what is known about them.
func readAttributes(ctx context.Context, tx sqldb.Tx, round []*opening) error {
	known := make([]*opening, 0, len(round))
	for _, o := range round {
		if !o.erased && o.opened.ContactID != o.ContactID {
			o.opened.Attributes = make(map[string]string)
			known = append(known, o)
		}
	}
	var number int64
	var name, value string
	err := find(ctx, tx, sqliteFindAttributes, known,
		func(o *opening) (string, string) { return o.Instance, o.opened.ContactID },
		[]any{&number, &name, &value},
		func() { known[number].opened.Attributes[name] = value })
	if err != nil {
		return fmt.Errorf("read attributes: %w", err)
	}
	return nil
}

// insertAttendances numbers the attendances and stores them.
func insertAttendances(ctx context.Context, tx sqldb.Tx, unopened []*opening) error {
	counts := make(map[string]int)
	for _, o := range unopened {
		counts[o.Instance]++
	}
	next := make(map[string]int64, len(counts))
	for instance, n := range counts {
		last, err := takeNumbers(ctx, tx, instance, countAttendance, n)
		if err != nil {
			return err
		}
		next[instance] = last - int64(n) + 1
	}
	for _, o := range unopened {
		o.opened.AttendanceID, o.opened.InteractionID = next[o.Instance], o.InteractionID
		next[o.Instance]++
	}
	err := insert(ctx, tx, sqliteInsertAttendances, unopened, "attendances", func(args []any, o *opening) []any {
		return append(args, o.Instance, o.opened.AttendanceID, o.InteractionID, o.opened.ContactID, o.Identifier, o.AssistantID, o.Source,
			o.RequestID, sqldb.Micros(o.Time))
	})
	if err != nil {
		return err
	}
	return insert(ctx, tx, sqliteInsertProgress, unopened, "progress", func(args []any, o *opening) []any {
		return append(args, o.Instance, o.opened.AttendanceID)
	})
}

// find looks something up for each opening by its instance and another column. Every row that is found is scanned into dest, whose
// first is the opening's index, and then found is called.
func find(
	ctx context.Context, tx sqldb.Tx, statement *sqldb.Bulk, openings []*opening,
	by func(o *opening) (instance, column string), dest []any, found func(),
) error {
	return statement.Split(len(openings), func(query string, from, to int) error {
		args := make([]any, 0, 3*(to-from))
		for i := from; i < to; i++ {
			instance, column := by(openings[i])
			args = append(args, i, instance, column)
		}
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }() // Err below has what went wrong
		for rows.Next() {
			if err := rows.Scan(dest...); err != nil {
				return err
			}
			found()
		}
		return rows.Err()
	})
}

// insert stores a row for each opening; what names the rows in an error.
func insert(
	ctx context.Context, tx sqldb.Tx, statement *sqldb.Bulk, openings []*opening, what string, values func(args []any, o *opening) []any,
) error {
	err := statement.Split(len(openings), func(query string, from, to int) error {
		var args []any
		for _, o := range openings[from:to] {
			args = values(args, o)
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("insert %s: %w", what, err)
	}
	return nil
}

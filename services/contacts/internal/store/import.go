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

// Import is an attendance of another system.
type Import struct {
	// ExternalID makes a repetition known. It is unique in the instance.
	ExternalID string
	// InteractionID and ContactID are new identifiers: the attendance's, and the person's unless the person is known.
	InteractionID, ContactID string
	Identifier               string
	AssistantID              int64
	Source                   string
	CreateTime, FinishTime   time.Time
	// Items is what was said, as History gives it back. Never nil.
	Items []byte
	// Spoken is how many messages the person sent.
	Spoken     int64
	Events     []Event
	Attributes []Attribute // none is empty
}

// Imported is an attendance that was imported, now or before.
type Imported struct {
	AttendanceID             int64
	InteractionID, ContactID string
	// Created says that it was not there before.
	Created bool
}

// importPrefix begins the id of the one turn of an imported attendance. Messages have no such ids.
const importPrefix = "import."

// ImportAttendances stores attendances with different external ids, all or none, and gives them in their order. Those that the instance
// has already stay as they are. Of two values for one name of a person, that of the newer attendance wins; those of attendances before
// the newest one that is stored only fill what is not known.
func (s *Store) ImportAttendances(ctx context.Context, instance string, list []Import) ([]Imported, error) {
	var imported []Imported
	write := func(ctx context.Context, tx sqldb.Tx) (err error) {
		imported, err = s.importAll(ctx, tx, instance, list)
		return err
	}
	err := s.db.Write(ctx, write)
	if sqldb.IsUnique(err) {
		// Somebody imports the same at the same time, and was faster: what they stored is there now.
		err = s.db.Write(ctx, write)
	}
	if err != nil {
		return nil, err
	}
	return imported, nil
}

// importing is an attendance on its way into the store.
type importing struct {
	*Import
	*Imported
}

func (s *Store) importAll(ctx context.Context, tx sqldb.Tx, instance string, list []Import) ([]Imported, error) {
	known, err := s.findExternal(ctx, tx, instance, list)
	if err != nil {
		return nil, err
	}
	imported := make([]Imported, len(list))
	var fresh []importing
	for i := range list {
		if there, ok := known[list[i].ExternalID]; ok {
			imported[i] = there
			continue
		}
		imported[i] = Imported{InteractionID: list[i].InteractionID, Created: true}
		fresh = append(fresh, importing{&list[i], &imported[i]})
	}
	if len(fresh) == 0 {
		return imported, nil
	}
	if err := s.importContacts(ctx, tx, instance, fresh); err != nil {
		return nil, err
	}
	newest, err := s.newestAttendances(ctx, tx, instance, fresh)
	if err != nil {
		return nil, err
	}
	if err := s.insertImports(ctx, tx, instance, fresh); err != nil {
		return nil, err
	}
	turns := make([]Turn, len(fresh))
	for i, a := range fresh {
		turns[i] = Turn{
			ID: importPrefix + a.Import.InteractionID, AttendanceID: a.AttendanceID, Items: a.Items, Spoken: a.Spoken, Finish: a.FinishTime,
			Events: a.Events,
		}
	}
	kept, _, err := s.dialect.recordTurns(ctx, tx, instance, turns)
	if err != nil {
		return nil, err
	}
	if err := s.recordFindings(ctx, tx, instance, kept); err != nil {
		return nil, err
	}
	return imported, s.importAttributes(ctx, tx, instance, fresh, newest)
}

// findExternal gives the attendances that are there, by their external ids.
func (s *Store) findExternal(ctx context.Context, tx sqldb.Tx, instance string, list []Import) (map[string]Imported, error) {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ExternalID
	}
	rows, err := tx.QueryContext(ctx, s.externalQuery(), instance, jsonList(ids))
	if err != nil {
		return nil, fmt.Errorf("find attendances by external id: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	known := make(map[string]Imported)
	for rows.Next() {
		var id string
		var a Imported
		if err := rows.Scan(&id, &a.AttendanceID, &a.InteractionID, &a.ContactID); err != nil {
			return nil, fmt.Errorf("find attendances by external id: %w", err)
		}
		known[id] = a
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find attendances by external id: %w", err)
	}
	return known, nil
}

func (s *Store) externalQuery() string {
	return `SELECT external_id, id, interaction_id, contact_id FROM attendance
		WHERE instance = $1 AND external_id` + s.dialect.texts("$2")
}

var importContacts = newBulk(`
	INSERT INTO contact (instance, id, identifier, create_time) VALUES `,
	[]string{"$1", "?", "?", "?"}, `
	ON CONFLICT (instance, identifier) DO NOTHING`)

// importContacts makes the persons known, and gives each attendance its person.
func (s *Store) importContacts(ctx context.Context, tx sqldb.Tx, instance string, fresh []importing) error {
	first := make(map[string]importing, len(fresh)) // the oldest attendance of each person
	for _, a := range fresh {
		if f, ok := first[a.Identifier]; !ok || a.CreateTime.Before(f.CreateTime) {
			first[a.Identifier] = a
		}
	}
	identifiers := make([]string, 0, len(first))
	for identifier := range first {
		identifiers = append(identifiers, identifier)
	}
	slices.Sort(identifiers) // two transactions lock rows in the same order
	err := s.bulk(importContacts).Split(len(identifiers), func(query string, from, to int) error {
		args := make([]any, 0, 1+3*(to-from))
		args = append(args, instance)
		for _, identifier := range identifiers[from:to] {
			f := first[identifier]
			args = append(args, f.Import.ContactID, identifier, sqldb.Micros(f.CreateTime))
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("insert contacts: %w", err)
	}
	rows, err := tx.QueryContext(ctx, s.identifiersQuery(), instance, jsonList(identifiers))
	if err != nil {
		return fmt.Errorf("find contacts: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	persons := make(map[string]string, len(identifiers))
	for rows.Next() {
		var identifier, id string
		if err := rows.Scan(&identifier, &id); err != nil {
			return fmt.Errorf("find contacts: %w", err)
		}
		persons[identifier] = id
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("find contacts: %w", err)
	}
	for _, a := range fresh {
		a.Imported.ContactID = persons[a.Identifier]
	}
	return nil
}

func (s *Store) identifiersQuery() string {
	return `SELECT identifier, id FROM contact WHERE instance = $1 AND identifier` + s.dialect.texts("$2")
}

// newestAttendances is when the last attendance that is stored of each person was opened, by the person.
func (s *Store) newestAttendances(ctx context.Context, tx sqldb.Tx, instance string, fresh []importing) (map[string]time.Time, error) {
	persons := make([]string, len(fresh))
	for i, a := range fresh {
		persons[i] = a.Imported.ContactID
	}
	rows, err := tx.QueryContext(ctx, s.newestQuery(), instance, jsonList(persons))
	if err != nil {
		return nil, fmt.Errorf("find newest attendances: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	newest := make(map[string]time.Time)
	for rows.Next() {
		var contact string
		var at int64
		if err := rows.Scan(&contact, &at); err != nil {
			return nil, fmt.Errorf("find newest attendances: %w", err)
		}
		newest[contact] = sqldb.Time(at)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find newest attendances: %w", err)
	}
	return newest, nil
}

func (s *Store) newestQuery() string {
	return `SELECT contact_id, max(create_time) FROM attendance` + s.dialect.using(byContact) + `
		WHERE instance = $1 AND contact_id` + s.dialect.texts("$2") + ` GROUP BY contact_id`
}

var (
	importAttendances = newBulk(`
		INSERT INTO attendance
			(instance, id, interaction_id, contact_id, identifier, assistant_id, source, external_id, create_time) VALUES `,
		[]string{"$1", "?", "?", "?", "?", "?", "?", "?", "?"}, ``)

	importProgress = newBulk(`
		INSERT INTO progress (instance, attendance_id, interactions, history_bytes) VALUES `,
		[]string{"$1", "?", "0", "0"}, ``)
)

// insertImports numbers the attendances and stores them.
func (s *Store) insertImports(ctx context.Context, tx sqldb.Tx, instance string, fresh []importing) error {
	last, err := takeNumbers(ctx, tx, instance, countAttendance, len(fresh))
	if err != nil {
		return err
	}
	for i, a := range fresh {
		a.AttendanceID = last - int64(len(fresh)-1-i)
	}
	err = s.bulk(importAttendances).Split(len(fresh), func(query string, from, to int) error {
		args := make([]any, 0, 1+8*(to-from))
		args = append(args, instance)
		for _, a := range fresh[from:to] {
			args = append(args, a.AttendanceID, a.Import.InteractionID, a.Imported.ContactID, a.Identifier, a.AssistantID, a.Source,
				a.ExternalID, sqldb.Micros(a.CreateTime))
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("insert attendances: %w", err)
	}
	err = s.bulk(importProgress).Split(len(fresh), func(query string, from, to int) error {
		args := make([]any, 0, 1+to-from)
		args = append(args, instance)
		for _, a := range fresh[from:to] {
			args = append(args, a.AttendanceID)
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("insert progress: %w", err)
	}
	return nil
}

var fillAttributes = newBulk(`
	INSERT INTO contact_attribute (instance, contact_id, name, value, lookup) VALUES `,
	[]string{"$1", "?", "?", "?", "?"}, `
	ON CONFLICT (instance, contact_id, name) DO NOTHING`)

// importAttributes stores what is known about the persons.
func (s *Store) importAttributes(
	ctx context.Context, tx sqldb.Tx, instance string, fresh []importing, newest map[string]time.Time,
) error {
	byAge := slices.Clone(fresh)
	slices.SortStableFunc(byAge, func(a, b importing) int { return a.CreateTime.Compare(b.CreateTime) })
	type place struct{ contact, name string }
	var learned []ownedAttribute
	older := make(map[place]ownedAttribute)
	for _, a := range byAge {
		before := a.CreateTime.Before(newest[a.Imported.ContactID])
		for _, attribute := range a.Attributes {
			owned := ownedAttribute{contact: a.Imported.ContactID, Attribute: attribute}
			if before {
				older[place{owned.contact, owned.Name}] = owned
			} else {
				learned = append(learned, owned)
			}
		}
	}
	if err := s.writeAttributes(ctx, tx, instance, learned); err != nil {
		return err
	}
	filling := make([]ownedAttribute, 0, len(older))
	for _, owned := range older {
		filling = append(filling, owned)
	}
	slices.SortFunc(filling, func(a, b ownedAttribute) int {
		return cmp.Or(cmp.Compare(a.contact, b.contact), cmp.Compare(a.Name, b.Name))
	})
	err := s.bulk(fillAttributes).Split(len(filling), func(query string, from, to int) error {
		args := make([]any, 0, 1+4*(to-from))
		args = append(args, instance)
		for _, a := range filling[from:to] {
			args = append(args, a.contact, a.Name, a.Value, sql.NullString{String: a.Lookup, Valid: a.Lookup != ""})
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("fill in attributes: %w", err)
	}
	return nil
}

package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Attribute is something known about a person.
type Attribute struct {
	Name string
	// Value is what is known; empty when it is to be forgotten.
	Value string
	// Lookup is the form by which the person is found; empty when this attribute is not looked for.
	Lookup string
}

// ownedAttribute is an attribute and whose it is.
type ownedAttribute struct {
	contact string
	Attribute
}

// The upsert leaves rows alone that say the same already: flows learn the same name at every visit.
var upsertAttributes = newBulk(`
	INSERT INTO contact_attribute (instance, contact_id, name, value, lookup) VALUES `,
	[]string{"$1", "?", "?", "?", "?"}, `
	ON CONFLICT (instance, contact_id, name) DO UPDATE SET value = excluded.value, lookup = excluded.lookup
	WHERE contact_attribute.value <> excluded.value`)

var deleteAttributes = newBulk(`
	DELETE FROM contact_attribute WHERE instance = $1 AND (contact_id, name) IN (VALUES `,
	[]string{"?", "?"}, `)`)

// writeAttributes stores what was learned. Of two values for one name of a person the later wins.
func (s *Store) writeAttributes(ctx context.Context, tx sqldb.Tx, instance string, learned []ownedAttribute) error {
	type place struct{ contact, name string }
	last := make(map[place]ownedAttribute, len(learned))
	for _, a := range learned {
		last[place{a.contact, a.Name}] = a
	}
	var kept, gone []ownedAttribute
	for _, a := range last {
		if a.Value == "" {
			gone = append(gone, a)
		} else {
			kept = append(kept, a)
		}
	}
	// Two transactions lock rows in the same order.
	for _, list := range [][]ownedAttribute{kept, gone} {
		slices.SortFunc(list, func(a, b ownedAttribute) int {
			return cmp.Or(cmp.Compare(a.contact, b.contact), cmp.Compare(a.Name, b.Name))
		})
	}
	err := s.bulk(upsertAttributes).Split(len(kept), func(query string, from, to int) error {
		args := make([]any, 0, 1+4*(to-from))
		args = append(args, instance)
		for _, a := range kept[from:to] {
			args = append(args, a.contact, a.Name, a.Value, sql.NullString{String: a.Lookup, Valid: a.Lookup != ""})
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("store attributes: %w", err)
	}
	err = s.bulk(deleteAttributes).Split(len(gone), func(query string, from, to int) error {
		args := make([]any, 0, 1+2*(to-from))
		args = append(args, instance)
		for _, a := range gone[from:to] {
			args = append(args, a.contact, a.Name)
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget attributes: %w", err)
	}
	return nil
}

// contactAttributes is what is known about one person, never nil.
func contactAttributes(ctx context.Context, r sqldb.Reader, instance, contact string) (map[string]string, error) {
	rows, err := r.QueryContext(ctx, `SELECT name, value FROM contact_attribute WHERE instance = $1 AND contact_id = $2`, instance, contact)
	if err != nil {
		return nil, fmt.Errorf("read attributes: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	attributes := make(map[string]string)
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("read attributes: %w", err)
		}
		attributes[name] = value
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read attributes: %w", err)
	}
	return attributes, nil
}

// Attributes is what is known about each of several persons, by their id.
func (s *Store) Attributes(ctx context.Context, instance string, contacts []string) (map[string]map[string]string, error) {
	rows, err := s.db.Reader().QueryContext(ctx, s.attributesQuery(), instance, jsonList(contacts))
	if err != nil {
		return nil, fmt.Errorf("read attributes: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	known := make(map[string]map[string]string, len(contacts))
	for rows.Next() {
		var contact, name, value string
		if err := rows.Scan(&contact, &name, &value); err != nil {
			return nil, fmt.Errorf("read attributes: %w", err)
		}
		if known[contact] == nil {
			known[contact] = make(map[string]string)
		}
		known[contact][name] = value
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read attributes: %w", err)
	}
	return known, nil
}

func (s *Store) attributesQuery() string {
	return `SELECT contact_id, name, value FROM contact_attribute
		WHERE instance = $1 AND contact_id` + s.dialect.texts("$2")
}

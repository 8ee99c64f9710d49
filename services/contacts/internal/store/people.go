package store

import (
	"context"
	"fmt"
)

// People says which persons of an instance are meant; everything given must hold, and something must be given.
type People struct {
	Identifier *string
	// Attributes are names and the forms by which they are found. They come in the order of their names.
	Attributes []Lookup
}

// Lookup is an attribute's name and the form by which persons are found who have it. An empty form finds nobody.
type Lookup struct{ Name, Form string }

// people is a query for the ids of the persons. Its first table gives few rows, its conditions look at those.
func (s *Store) people(c *condition, p People) string {
	instance := "$1" // as everywhere
	attributes := p.Attributes
	var query, id string
	if p.Identifier != nil {
		query, id = `SELECT c.id FROM contact c WHERE c.instance = `+instance+` AND c.identifier = `+c.parameter(*p.Identifier), "c.id"
	} else {
		query, id = `SELECT a.contact_id FROM contact_attribute a WHERE a.instance = `+instance+
			` AND a.name = `+c.parameter(attributes[0].Name)+` AND a.lookup = `+c.parameter(attributes[0].Form), "a.contact_id"
		attributes = attributes[1:]
	}
	for _, attribute := range attributes {
		query += ` AND EXISTS (SELECT 1 FROM contact_attribute o WHERE o.instance = ` + instance + ` AND o.contact_id = ` + id +
			` AND o.name = ` + c.parameter(attribute.Name) + ` AND o.lookup = ` + c.parameter(attribute.Form) + `)`
	}
	return query
}

// Contacts are the ids of the persons meant, limit at most, never nil.
func (s *Store) Contacts(ctx context.Context, instance string, p People, limit int) ([]string, error) {
	query, args := s.contactsQuery(instance, p, limit)
	rows, err := s.db.Reader().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("find contacts: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	found := []string{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("find contacts: %w", err)
		}
		found = append(found, id)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find contacts: %w", err)
	}
	return found, nil
}

func (s *Store) contactsQuery(instance string, p People, limit int) (query string, args []any) {
	c := &condition{}
	c.parameter(instance)
	query = s.people(c, p) + ` LIMIT ` + c.parameter(limit)
	return query, c.args
}

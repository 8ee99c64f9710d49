package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var insertEventTypes = newBulk(`
	INSERT INTO event_type (instance, id, name) VALUES `, []string{"$1", "?", "?"}, ``)

// ensureEventTypes gives the number of each name; names that are new get the next ones, in the order of the alphabet.
func (s *Store) ensureEventTypes(ctx context.Context, tx sqldb.Tx, instance string, names map[string]bool) (map[string]int64, error) {
	wanted := make([]string, 0, len(names))
	for name := range names {
		wanted = append(wanted, name)
	}
	slices.Sort(wanted)

	types := make(map[string]int64, len(wanted))
	if err := s.readEventTypes(ctx, tx, instance, wanted, types); err != nil {
		return nil, err
	}
	if len(missing(wanted, types)) == 0 {
		return types, nil
	}
	// Wait for whoever is adding names too, and look again.
	if _, err := takeNumbers(ctx, tx, instance, countEventType, 0); err != nil {
		return nil, err
	}
	if err := s.readEventTypes(ctx, tx, instance, wanted, types); err != nil {
		return nil, err
	}
	unnamed := missing(wanted, types)
	if len(unnamed) == 0 {
		return types, nil
	}
	last, err := takeNumbers(ctx, tx, instance, countEventType, len(unnamed))
	if err != nil {
		return nil, err
	}
	first := last - int64(len(unnamed)) + 1
	err = s.bulk(insertEventTypes).Split(len(unnamed), func(query string, from, to int) error {
		args := []any{instance}
		for i, name := range unnamed[from:to] {
			number := first + int64(from+i)
			types[name] = number
			args = append(args, number, name)
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("insert event types: %w", err)
	}
	return types, nil
}

// readEventTypes adds the numbers of those names that have one.
func (s *Store) readEventTypes(ctx context.Context, tx sqldb.Tx, instance string, names []string, into map[string]int64) error {
	rows, err := tx.QueryContext(ctx, `
		SELECT id, name FROM event_type WHERE instance = $1 AND name`+s.dialect.texts("$2"), instance, jsonList(names))
	if err != nil {
		return fmt.Errorf("read event types: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return fmt.Errorf("read event types: %w", err)
		}
		into[name] = id
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read event types: %w", err)
	}
	return nil
}

func missing(names []string, types map[string]int64) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, ok := types[name]
		return ok
	})
}

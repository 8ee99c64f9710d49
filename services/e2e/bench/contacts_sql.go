package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the drivers that Prosa uses
	_ "modernc.org/sqlite"
)

// bare runs by hand the SQL of pages on the store that Prosa uses at the same
// time.
type bare struct {
	db       *sql.DB
	postgres bool
}

func openBare(ctx context.Context, folder, postgres string) (*bare, error) {
	driver, source := "sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(folder, "contacts.db"),
		RawQuery: url.Values{"_pragma": {"temp_store(MEMORY)", "cache_size(-2048)"}, "_query_only": {"1"}}.Encode()}).String()
	if postgres != "" {
		driver, source = "pgx", postgres
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), db.Close())
	}
	return &bare{db: db, postgres: postgres != ""}, nil
}

func (b *bare) close() { _ = b.db.Close() } // nothing was written

// page gives a function that reads the first page of a query: 100 attendances,
// how far each is, and what is known about their people. It looks for one more,
// to know whether there is a next page.
func (b *bare) page(ctx context.Context, f filtered) (func(ctx context.Context) error, error) {
	query, err := b.pageQuery(ctx, f)
	if err != nil {
		return nil, err
	}
	attendances, err := b.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("prepare page: %w", err)
	}
	schema, mark := "", "?"
	if b.postgres {
		schema = "contacts."
	}
	marks := make([]string, 100)
	for i := range marks {
		if b.postgres {
			mark = fmt.Sprintf("$%d", i+2)
		}
		marks[i] = mark
	}
	first := "?"
	if b.postgres {
		first = "$1"
	}
	attributes, err := b.db.PrepareContext(ctx, `SELECT contact_id, name, value FROM `+schema+`contact_attribute
		WHERE instance = `+first+` AND contact_id IN (`+strings.Join(marks, ", ")+`)`)
	if err != nil {
		return nil, fmt.Errorf("prepare attributes: %w", err)
	}
	return func(ctx context.Context) error {
		people, err := readPage(ctx, attendances)
		if err != nil {
			return err
		}
		return readAttributes(ctx, attributes, people)
	}, nil
}

// pageQuery is the page with the bounds of the numbers that match, so that it
// does not pass over younger ones.
func (b *bare) pageQuery(ctx context.Context, f filtered) (string, error) {
	schema, index := "", ""
	switch {
	case b.postgres:
		schema = "contacts."
	case f.column == "":
		index = " INDEXED BY sqlite_autoindex_attendance_1"
	default:
		index = " INDEXED BY attendance_by_" + strings.TrimSuffix(f.column, "_id")
	}
	where := ""
	if f.where != "" {
		where = " AND " + f.where
	}
	var low, high int64
	err := b.db.QueryRowContext(ctx, `SELECT min(id), max(id) FROM `+schema+`attendance WHERE instance = '`+contactsInstance+`'`+where).Scan(&low, &high)
	if err != nil {
		return "", fmt.Errorf("find bounds: %w", err)
	}
	return `SELECT id, interaction_id, contact_id, identifier, assistant_id, source, external_id, interactions, create_time, finish_time
		FROM ` + schema + `attendance AS a` + index + ` CROSS JOIN ` + schema + `progress AS p
		WHERE a.instance = '` + contactsInstance + `'` + where + fmt.Sprintf(` AND id >= %d AND id <= %d`, low, high) + `
		AND p.instance = a.instance AND p.attendance_id = a.id ORDER BY id DESC LIMIT 101`, nil
}

func readPage(ctx context.Context, statement *sql.Stmt) (people []any, err error) {
	rows, err := statement.QueryContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	for rows.Next() {
		var (
			id, assistant, interactions, created     int64
			interaction, contact, identifier, source string
			external                                 sql.NullString
			finished                                 sql.NullInt64
		)
		if err := rows.Scan(&id, &interaction, &contact, &identifier, &assistant, &source, &external, &interactions, &created, &finished); err != nil {
			return nil, fmt.Errorf("read page: %w", err)
		}
		people = append(people, contact)
	}
	if len(people) < 100 {
		return nil, errors.Join(rows.Err(), fmt.Errorf("read page: it has only %d", len(people)))
	}
	return people[:100], rows.Err()
}

func readAttributes(ctx context.Context, statement *sql.Stmt, people []any) error {
	rows, err := statement.QueryContext(ctx, append([]any{contactsInstance}, people...)...)
	if err != nil {
		return fmt.Errorf("read attributes: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	known := make(map[string]map[string]string, len(people))
	for rows.Next() {
		var contact, name, value string
		if err := rows.Scan(&contact, &name, &value); err != nil {
			return fmt.Errorf("read attributes: %w", err)
		}
		if known[contact] == nil {
			known[contact] = make(map[string]string)
		}
		known[contact][name] = value
	}
	return rows.Err()
}

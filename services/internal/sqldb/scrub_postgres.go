package sqldb

import (
	"context"
	"errors"
	"fmt"
)

// scrub vacuums every table of the schema, on a connection whose statements may take longer than others'.
func (s *server) scrub(ctx context.Context, _ *DB) (err error) {
	conn, err := s.pool.Conn(ctx)
	if err != nil {
		return translate(fmt.Errorf("connect: %w", err))
	}
	defer func() {
		// With the timeouts back it can be used by others.
		_, reset := conn.ExecContext(context.WithoutCancel(ctx), "SET statement_timeout = "+milliseconds(statementTimeout))
		err = errors.Join(translate(err), translate(reset), conn.Close())
	}()
	if _, err := conn.ExecContext(ctx, "SET statement_timeout = 0"); err != nil {
		return fmt.Errorf("let statements take long: %w", err)
	}
	rows, err := conn.QueryContext(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename")
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	defer func() { _ = rows.Close() }() // Err below has what went wrong
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return fmt.Errorf("list tables: %w", err)
		}
		tables = append(tables, table)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	if err := rows.Close(); err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, table := range tables {
		if _, err := conn.ExecContext(ctx, "VACUUM "+quoteName(table)); err != nil {
			return fmt.Errorf("vacuum %s: %w", table, err)
		}
	}
	return nil
}

package population

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// rowsCopied is how many rows are copied at a time.
const rowsCopied = 20_000

// postgresSink copies rows into the tables of a schema, in one transaction.
type postgresSink struct {
	conn *pgx.Conn
	tx   pgx.Tx
	rows map[*table][][]any
}

var (
	postgresTurns = &table{"turn", []string{"instance", "turn_id", "attendance_id", "items"}}
	postgresDone  = &table{"progress", []string{"instance", "attendance_id", "interactions", "history_bytes", "finish_time"}}
)

func openPostgres(ctx context.Context, url string) (*postgresSink, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	s := &postgresSink{conn: conn, rows: map[*table][][]any{}}
	if s.tx, err = conn.Begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("begin: %w", err), s.close())
	}
	return s, nil
}

func (s *postgresSink) add(ctx context.Context, t *table, values ...any) error {
	s.rows[t] = append(s.rows[t], values)
	if len(s.rows[t]) < rowsCopied {
		return nil
	}
	return s.write(ctx, t)
}

func (s *postgresSink) write(ctx context.Context, t *table) error {
	if _, err := s.tx.CopyFrom(ctx, pgx.Identifier{"contacts", t.name}, t.columns, pgx.CopyFromRows(s.rows[t])); err != nil {
		return fmt.Errorf("copy rows of %s: %w", t.name, err)
	}
	s.rows[t] = s.rows[t][:0]
	return nil
}

func (s *postgresSink) turn(ctx context.Context, instance, id string, attendance int64, items []byte) error {
	return s.add(ctx, postgresTurns, instance, id, attendance, items)
}

func (s *postgresSink) progress(ctx context.Context, instance string, attendance, interactions, bytes int64, finish any) error {
	return s.add(ctx, postgresDone, instance, attendance, interactions, bytes, finish)
}

// finish commits, and has the tables looked over as PostgreSQL does by itself sooner or later.
func (s *postgresSink) finish(ctx context.Context) error {
	for t := range s.rows {
		if err := s.write(ctx, t); err != nil {
			return err
		}
	}
	if err := s.tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for _, t := range []*table{contacts, attributes, attendances, postgresDone, events, postgresTurns} {
		if _, err := s.conn.Exec(ctx, "VACUUM (ANALYZE) contacts."+t.name); err != nil {
			return fmt.Errorf("vacuum %s: %w", t.name, err)
		}
	}
	return nil
}

func (s *postgresSink) close() error { return s.conn.Close(context.Background()) }

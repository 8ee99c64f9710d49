package population

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "modernc.org/sqlite" // the driver
)

// rowsTogether is how many rows one statement inserts.
const rowsTogether = 50

// sqliteSink writes into a file, in one transaction and without a journal: a file that was not finished is of no use.
type sqliteSink struct {
	db   *sql.DB
	conn *sql.Conn
	rows map[*table][]any
	// last is the number of each open attendance's last turn, and seq that of the last turn of all.
	last       map[int64]int64
	seq        int64
	statements map[string]*sql.Stmt
}

var (
	sqliteTurns = &table{"turn", []string{"seq", "instance", "turn_id", "attendance_id", "previous", "items"}}
	sqliteDone  = &table{"progress", []string{"instance", "attendance_id", "interactions", "history_bytes", "finish_time", "last_turn"}}
)

func openSQLite(ctx context.Context, file string) (_ *sqliteSink, err error) {
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &sqliteSink{db: db, rows: map[*table][]any{}, last: map[int64]int64{}, statements: map[string]*sql.Stmt{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.conn, err = db.Conn(ctx); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	for _, statement := range []string{
		`PRAGMA journal_mode = DELETE`, `PRAGMA locking_mode = EXCLUSIVE`, `PRAGMA journal_mode = OFF`, `PRAGMA synchronous = OFF`,
		`PRAGMA cache_size = -400000`, `BEGIN IMMEDIATE`,
	} {
		if _, err = s.conn.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("prepare store: %s: %w", statement, err)
		}
	}
	err = s.conn.QueryRowContext(ctx, `SELECT COALESCE(max(seq), 0) FROM turn`).Scan(&s.seq)
	return s, err
}

func (s *sqliteSink) add(ctx context.Context, t *table, values ...any) error {
	s.rows[t] = append(s.rows[t], values...)
	if len(s.rows[t]) < rowsTogether*len(t.columns) {
		return nil
	}
	return s.write(ctx, t)
}

// write inserts the rows of a table that wait.
func (s *sqliteSink) write(ctx context.Context, t *table) error {
	values := s.rows[t]
	if len(values) == 0 {
		return nil
	}
	row := "(" + strings.Repeat("?, ", len(t.columns)-1) + "?)"
	query := "INSERT INTO " + t.name + " (" + strings.Join(t.columns, ", ") + ") VALUES " +
		row + strings.Repeat(", "+row, len(values)/len(t.columns)-1)
	statement := s.statements[query]
	if statement == nil {
		var err error
		if statement, err = s.conn.PrepareContext(ctx, query); err != nil {
			return fmt.Errorf("prepare rows of %s: %w", t.name, err)
		}
		s.statements[query] = statement
	}
	if _, err := statement.ExecContext(ctx, values...); err != nil {
		return fmt.Errorf("insert rows of %s: %w", t.name, err)
	}
	s.rows[t] = values[:0]
	return nil
}

func (s *sqliteSink) turn(ctx context.Context, instance, id string, attendance int64, items []byte) error {
	s.seq++
	var previous any
	if last, ok := s.last[attendance]; ok {
		previous = last
	}
	s.last[attendance] = s.seq
	return s.add(ctx, sqliteTurns, s.seq, instance, id, attendance, previous, items)
}

func (s *sqliteSink) progress(ctx context.Context, instance string, attendance, interactions, bytes int64, finish any) error {
	var last any
	if seq, ok := s.last[attendance]; ok {
		last = seq
		delete(s.last, attendance)
	}
	return s.add(ctx, sqliteDone, instance, attendance, interactions, bytes, finish, last)
}

func (s *sqliteSink) finish(ctx context.Context) error {
	for t := range s.rows {
		if err := s.write(ctx, t); err != nil {
			return err
		}
	}
	for _, statement := range []string{`COMMIT`, `PRAGMA journal_mode = DELETE`} {
		if _, err := s.conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("finish store: %w", err)
		}
	}
	return nil
}

func (s *sqliteSink) close() error {
	var errs []error
	for _, statement := range s.statements {
		errs = append(errs, statement.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(append(errs, s.db.Close())...)
}

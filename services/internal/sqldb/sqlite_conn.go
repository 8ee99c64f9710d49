package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"time"

	"modernc.org/sqlite"
)

// maxStatements is how many prepared statements a connection keeps. Statements are constants of the program, so it is reached
// only by code that builds its SQL, and then any statement not in use makes room.
const maxStatements = 256

// statementTimeout is how long one statement may take.
const statementTimeout = 5 * time.Second

var errStatementTimeout = fmt.Errorf("statement took longer than %s", statementTimeout)

// sqliteConnector opens connections that keep their statements prepared, which saves about half the time of a short statement,
// and whose errors have their meaning already when database/sql sees them, also those of rows.
type sqliteConnector struct {
	driver.Connector
	// limit is how long a query may take; 0 is for ever. The writer has none: to break off a write undoes the transaction of
	// everybody in the group.
	limit time.Duration
}

func (c *sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, translateSQLite(err)
	}
	raw, ok := conn.(rawSQLite)
	if !ok {
		return nil, errors.Join(errors.New("connect to sqlite: driver lacks an interface"), conn.Close())
	}
	return &sqliteConn{rawSQLite: raw, limit: c.limit, statements: make(map[string]*sqliteStmt)}, nil
}

// rawSQLite is what the driver's connection offers and this package uses.
type rawSQLite interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
	driver.Pinger
	sqlite.DBStatus
}

// sqliteConn is one connection. Like every driver.Conn it is used by one goroutine at a time.
type sqliteConn struct {
	rawSQLite
	limit      time.Duration
	statements map[string]*sqliteStmt
	open       []*sqliteRows       // rows not closed yet
	args       []driver.NamedValue // of exec, between two of which it is empty
	// broken is the first error after which the transaction may be undone, though a function may have ignored it.
	broken error
}

type sqliteStmt struct {
	driver.Stmt
	// busy says that rows of it are open, so that it cannot run a second time now.
	busy bool
}

// statement returns a prepared statement that is free, or nil if this one is in use or there is no room.
func (c *sqliteConn) statement(ctx context.Context, query string) (*sqliteStmt, error) {
	if s, ok := c.statements[query]; ok {
		if s.busy {
			return nil, nil
		}
		return s, nil
	}
	if len(c.statements) >= maxStatements && !c.evict() {
		return nil, nil
	}
	prepared, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s := &sqliteStmt{Stmt: prepared}
	c.statements[query] = s
	return s, nil
}

func (c *sqliteConn) evict() bool {
	for query, s := range c.statements {
		if !s.busy {
			delete(c.statements, query)
			// The statement is gone whatever Close returns: it repeats the error of the last run.
			_ = s.Close()
			return true
		}
	}
	return false
}

// note remembers an error that may have undone the transaction, and gives it its meaning.
func (c *sqliteConn) note(err error) error {
	if err == nil {
		return nil
	}
	if c.broken == nil && endsTransaction(err) {
		c.broken = err
	}
	return translateSQLite(err)
}

func (c *sqliteConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, c.note(err)
	}
	if s == nil {
		result, err := c.rawSQLite.ExecContext(ctx, query, args)
		return result, c.note(err)
	}
	result, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	return result, c.note(err)
}

func (c *sqliteConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // see refusedRow
	}
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, c.note(err)
	}
	limited, cancel := ctx, context.CancelFunc(nil)
	if c.limit > 0 {
		limited, cancel = context.WithTimeoutCause(ctx, c.limit, errStatementTimeout)
	}
	var rows driver.Rows
	if s == nil {
		rows, err = c.rawSQLite.QueryContext(limited, query, args)
	} else {
		rows, err = s.Stmt.(driver.StmtQueryContext).QueryContext(limited, args)
	}
	if err != nil {
		err = c.timedOut(limited, err)
		if cancel != nil {
			cancel()
		}
		return nil, c.note(err)
	}
	if s != nil {
		s.busy = true
	}
	r := &sqliteRows{Rows: rows, conn: c, stmt: s, limited: limited, cancel: cancel}
	c.open = append(c.open, r)
	return r, nil
}

// timedOut tells the statement's own limit from the end of the caller's context.
func (c *sqliteConn) timedOut(limited context.Context, err error) error {
	if c.limit > 0 && errors.Is(context.Cause(limited), errStatementTimeout) {
		return unavailable(errStatementTimeout)
	}
	return err
}

// exec is ExecContext for the writer, whose connection is its own: what database/sql does for each call besides (a lock, a look at
// the context, a list of arguments) costs as much as a row of a large statement.
func (c *sqliteConn) exec(ctx context.Context, query string, args []any) (driver.Result, error) {
	defer func() {
		clear(c.args)
		c.args = c.args[:0]
	}()
	for i, arg := range args {
		value, err := driverValue(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: value})
	}
	return c.ExecContext(ctx, query, c.args)
}

// driverValue is what the driver gets for an argument, as database/sql would give it.
func driverValue(arg any) (driver.Value, error) {
	switch v := arg.(type) {
	case string, int64, []byte:
		return v, nil
	default:
		return driver.DefaultParameterConverter.ConvertValue(arg)
	}
}

// run executes a statement without arguments and results, for the writer's own use.
func (c *sqliteConn) run(ctx context.Context, query string) error {
	_, err := c.ExecContext(ctx, query, nil)
	return err
}

// closeRows closes what a function left open, and reports whether there was anything.
func (c *sqliteConn) closeRows() bool {
	if len(c.open) == 0 {
		return false
	}
	for _, r := range slices.Clone(c.open) {
		_ = r.Close() // an error of the rows was the function's to see
	}
	return true
}

func (c *sqliteConn) Close() error {
	c.closeRows()
	for query, s := range c.statements {
		delete(c.statements, query)
		_ = s.Close() // as in evict
	}
	return c.rawSQLite.Close()
}

type sqliteRows struct {
	driver.Rows
	conn    *sqliteConn
	stmt    *sqliteStmt
	limited context.Context
	cancel  context.CancelFunc
	closed  bool
}

func (r *sqliteRows) Next(dest []driver.Value) error {
	if r.closed {
		return errRowsOpen
	}
	if r.cancel != nil {
		// The driver breaks off only the search for the first row; a walk is broken off between two rows.
		if err := r.limited.Err(); err != nil {
			return r.conn.timedOut(r.limited, err)
		}
	}
	err := r.Rows.Next(dest)
	if codeOf(err) == 0 {
		return err // nil, io.EOF
	}
	return r.conn.note(err)
}

// Close may be called twice: by the writer for a function that forgot it, and by database/sql.
func (r *sqliteRows) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	err := r.Rows.Close()
	if r.stmt != nil {
		r.stmt.busy = false
	}
	if r.cancel != nil {
		r.cancel()
	}
	if i := slices.Index(r.conn.open, r); i >= 0 {
		r.conn.open = slices.Delete(r.conn.open, i, i+1)
	}
	return translateSQLite(err)
}

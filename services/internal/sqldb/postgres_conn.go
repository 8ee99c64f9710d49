package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresConnector opens connections whose errors have their meaning already when database/sql sees them, also those of rows.
type postgresConnector struct{ driver.Connector }

func (c postgresConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, translatePostgres(err)
	}
	std, ok := conn.(*stdlib.Conn)
	if !ok {
		return nil, errors.Join(errors.New("connect to postgres: unknown kind of connection"), conn.Close())
	}
	return &postgresConn{Conn: std}, nil
}

// postgresConn is one connection.
type postgresConn struct {
	*stdlib.Conn
	// standby says that the server takes no writes any more: the pool must find another.
	standby bool
}

func (c *postgresConn) translate(err error) error {
	if stateOf(err) == codeReadOnly {
		c.standby = true
	}
	return translatePostgres(err)
}

func (c *postgresConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.Conn.ExecContext(ctx, query, args)
	return result, c.translate(sentAnyway(ctx, args, err))
}

func (c *postgresConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, c.translate(sentAnyway(ctx, args, err))
	}
	return &postgresRows{Rows: rows, conn: c}, nil
}

func (c *postgresConn) Ping(ctx context.Context) error { return c.translate(c.Conn.Ping(ctx)) }

// IsValid is asked by database/sql before the connection goes back to the pool. One with an open transaction must not: it would
// keep its locks there.
func (c *postgresConn) IsValid() bool {
	conn := c.Conn.Conn()
	return !c.standby && !conn.IsClosed() && conn.PgConn().TxStatus() == 'I'
}

// sentAnyway corrects the driver's word that a statement was not sent. Without arguments it uses the simple protocol, and there
// (pgx 5.12) a connection that breaks before the answer is reported like one that was closed before. database/sql would run the
// statement a second time.
func sentAnyway(ctx context.Context, args []driver.NamedValue, err error) error {
	if errors.Is(err, driver.ErrBadConn) && len(args) == 0 && ctx.Err() == nil {
		return lost(pgconn.ErrConnClosed)
	}
	return err
}

// control runs BEGIN, COMMIT or ROLLBACK and returns the server's word for what it did.
func (c *postgresConn) control(ctx context.Context, command string) (done string, err error) {
	conn := c.Conn.Conn()
	if conn.IsClosed() {
		return "", unavailable(pgconn.ErrConnClosed)
	}
	tag, err := conn.Exec(ctx, command, pgx.QueryExecModeSimpleProtocol)
	if errors.Is(err, pgconn.ErrConnClosed) {
		return "", lost(err) // see sentAnyway
	}
	return tag.String(), c.translate(err)
}

type postgresRows struct {
	driver.Rows
	conn *postgresConn
}

func (r *postgresRows) Next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if errors.Is(err, io.EOF) {
		return err // the end of the rows
	}
	return r.conn.translate(err)
}

func (r *postgresRows) Close() error { return r.conn.translate(r.Rows.Close()) }

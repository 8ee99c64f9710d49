package sqldb

import (
	"context"
	"database/sql"
)

// serverReader is a poolReader that runs a query again when the server asks for that before the first row: a single PostgreSQL does so
// at higher levels of isolation only, a cluster also when its servers' clocks are apart.
type serverReader struct{ server *server }

func (r serverReader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := poolReader{pool: r.server.pool}.QueryContext(ctx, query, args...)
	if !mayRunAgain(err) {
		return rows, err
	}
	return r.queryAgain(ctx, err, query, args)
}

// queryAgain is QueryContext after a first attempt that was refused.
func (r serverReader) queryAgain(ctx context.Context, refused error, query string, args []any) (rows *sql.Rows, err error) {
	err = r.server.again(ctx, func() (again bool, err error) {
		if err, refused = refused, nil; err == nil {
			rows, err = poolReader{pool: r.server.pool}.QueryContext(ctx, query, args...) //nolint:rowserrcheck,sqlclosecheck // the caller's
		}
		return mayRunAgain(err), err
	})
	return rows, err
}

func (r serverReader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	row := r.server.pool.QueryRowContext(ctx, query, args...)
	if !mayRunAgain(row.Err()) {
		return row
	}
	first := true
	// The row itself has the error of the last attempt.
	_ = r.server.again(ctx, func() (again bool, _ error) {
		if !first {
			row = r.server.pool.QueryRowContext(ctx, query, args...)
		}
		first = false
		return mayRunAgain(row.Err()), row.Err()
	})
	return row
}

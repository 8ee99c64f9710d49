package store

import (
	"context"
	"database/sql"
	"slices"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// bulk is a statement about many rows of plain values.
type bulk struct {
	columns    int
	statements *sqldb.Bulk
}

// newBulk is the statement with as many rows of parameters as it is given between before and after.
func newBulk(before string, columns int, after string) *bulk {
	return &bulk{columns: columns, statements: sqldb.NewSQLiteBulk(before, slices.Repeat([]string{"?"}, columns), after)}
}

// exec runs the statement for rows whose values are in args, one row after the other.
func (b *bulk) exec(ctx context.Context, tx sqldb.Tx, args []any) error {
	return b.split(args, func(query string, part []any) error {
		_, err := tx.ExecContext(ctx, query, part...)
		return err
	})
}

// returning is exec for a statement that returns one text of each row that it took; took is called with each, in any order. It
// must not keep what it is given.
func (b *bulk) returning(ctx context.Context, tx sqldb.Tx, args []any, took func(key []byte)) error {
	return b.split(args, func(query string, part []any) error {
		rows, err := tx.QueryContext(ctx, query, part...)
		if err != nil {
			return err
		}
		defer rows.Close()
		var key sql.RawBytes
		for rows.Next() {
			if err := rows.Scan(&key); err != nil {
				return err
			}
			took(key)
		}
		return rows.Err()
	})
}

func (b *bulk) split(args []any, run func(query string, part []any) error) error {
	return b.statements.Split(len(args)/b.columns, func(query string, from, to int) error {
		return run(query, args[from*b.columns:to*b.columns])
	})
}

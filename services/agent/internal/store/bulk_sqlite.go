package store

import (
	"context"
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

// exec runs the statement for rows whose values are in args, one row after the other, and counts the rows of the store that it
// changed.
func (b *bulk) exec(ctx context.Context, tx sqldb.Tx, args []any) (changed int64, err error) {
	err = b.statements.Split(len(args)/b.columns, func(query string, from, to int) error {
		result, err := tx.ExecContext(ctx, query, args[from*b.columns:to*b.columns]...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		changed += n
		return err
	})
	return changed, err
}

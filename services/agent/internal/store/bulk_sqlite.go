package store

import (
	"context"
	"database/sql"
	"strings"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// bulkSizes are the numbers of rows for which statements are prepared. Each statement costs about as much as five rows do, and with
// powers of two any number of rows up to 127 takes at most seven.
var bulkSizes = []int{64, 32, 16, 8, 4, 2, 1}

// bulk is a statement about many rows, in SQLite's own form: its parameters have no names, for SQLite searches a list of names for
// each one that has.
type bulk struct {
	columns int
	bySize  map[int]string
}

// newBulk is the statement with as many rows of parameters as it is given between before and after.
func newBulk(before string, columns int, after string) *bulk {
	b := &bulk{columns: columns, bySize: make(map[int]string, len(bulkSizes))}
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for _, size := range bulkSizes {
		b.bySize[size] = before + row + strings.Repeat(", "+row, size-1) + after
	}
	return b
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
	return sqldb.Split(len(args)/b.columns, bulkSizes, func(from, size int) error {
		return run(b.bySize[size], args[from*b.columns:(from+size)*b.columns])
	})
}

package sqldb_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func TestBulkSplit(t *testing.T) {
	b := sqldb.NewBulk("INSERT ", []string{"$1", "?", "CAST(? AS BIGINT)"}, " END")
	require.Equal(t, "INSERT ($1, $2, CAST($3 AS BIGINT)), ($1, $4, CAST($5 AS BIGINT)) END", b[len(b)-2])
	require.Equal(t, "INSERT ($1, $2, CAST($3 AS BIGINT)) END", b[len(b)-1])
	for _, n := range []int{0, 1, 3, 4, 5, 63, 64, 65, 500} {
		var parts []string
		next := 0
		require.NoError(t, b.Split(n, func(query string, from, to int) error {
			require.Equal(t, next, from)
			require.Equal(t, to-from, strings.Count(query, "($1,"))
			next = to
			parts = append(parts, fmt.Sprint(to-from))
			return nil
		}))
		require.Equal(t, n, next)
		require.LessOrEqual(t, len(parts), n/64+6)
	}
}

func TestSQLiteBulk(t *testing.T) {
	b := sqldb.NewSQLiteBulk("INSERT ", []string{"?", "'x'", "?"}, "")
	require.Equal(t, "INSERT (?, 'x', ?), (?, 'x', ?)", b[len(b)-2])
	require.Equal(t, "INSERT (?, 'x', ?)", b[len(b)-1])
}

// A bulk statement that fails leaves to its transaction to undo what it did, and no function of Write keeps any of it.
func TestSQLiteBulkFails(t *testing.T) {
	require.Equal(t, "INSERT OR REPLACE INTO items VALUES (?)", sqldb.NewSQLiteBulk("INSERT OR REPLACE INTO items VALUES ", []string{"?"}, "")[6])
	b := sqldb.NewSQLiteBulk("\n\tINSERT INTO items (instance, id) VALUES ", []string{"'acme'", "?"}, "")
	require.Equal(t, "\n\tINSERT OR FAIL INTO items (instance, id) VALUES ('acme', ?)", b[6])
	require.Equal(t, "UPDATE OR FAIL items AS i SET id = v.column1 FROM (VALUES (?)) AS v",
		sqldb.NewSQLiteBulk("UPDATE items AS i SET id = v.column1 FROM (VALUES ", []string{"?"}, ") AS v")[6])

	db := openSQLite(t)
	taken := func(ctx context.Context, tx sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, b[5], "new", "taken")
		require.True(t, sqldb.IsUnique(err), err)
		require.Equal(t, 2, rowCount(t, tx), "the first row stays, until the function ends")
		return err
	}
	require.NoError(t, db.Write(ctx, insertFn("taken")))
	require.True(t, sqldb.IsUnique(db.Write(ctx, taken)))
	require.Equal(t, 1, rowCount(t, db.Reader()))
}

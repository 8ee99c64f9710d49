package sqldb_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// A commit of some pages is one write to the log, however many pages.
func TestACommitIsWrittenAtOnce(t *testing.T) {
	db := openSQLite(t)
	require.NoError(t, db.Write(ctx, insertFn("first")))
	writes, bytes := 0, 0
	sqldb.OnLogWrite(t, func(n int32, write func() int32) int32 {
		writes++
		bytes += int(n)
		return write()
	})
	_, err := db.Exec1(ctx, fill, "some", 40<<10)
	require.NoError(t, err)
	require.Equal(t, 1, writes)
	require.Greater(t, bytes, 40<<10)
	require.Zero(t, bytes%(24+4096), "whole pages, each with its header")

	// What is more than is held back takes several, and none of them is of more than the system's layer below takes.
	writes, bytes = 0, 0
	_, err = db.Exec1(ctx, fill, "much", 1<<20)
	require.NoError(t, err)
	require.Greater(t, bytes, 1<<20)
	require.LessOrEqual(t, writes, bytes/(120<<10)+1)
}

// A write that fails fails its commit, and is not left over for the next one.
func TestAWriteToTheLogThatFailsFailsItsCommit(t *testing.T) {
	for after := range 4 {
		t.Run(fmt.Sprint(after, " writes"), func(t *testing.T) {
			db := openSQLite(t)
			require.NoError(t, db.Write(ctx, insertFn("before")))
			left := after
			failing := true
			sqldb.OnLogWrite(t, func(_ int32, write func() int32) int32 {
				if left--; left < 0 && failing {
					return sqlite3.SQLITE_FULL
				}
				return write()
			})
			_, err := db.Exec1(ctx, fill, "lost", 480<<10) // four writes
			require.ErrorIs(t, err, sqldb.ErrUnavailable)
			require.Equal(t, 1, rowCount(t, db.Reader()))
			failing = false
			require.NoError(t, db.Write(ctx, insertFn("after")))
			require.Equal(t, 2, rowCount(t, db.Reader()))
		})
	}
}

// A transaction that is larger than the cache writes pages before its end and reads them again, and nobody sees them until then.
func TestATransactionLargerThanTheCache(t *testing.T) {
	db := openSQLite(t)
	require.NoError(t, db.Write(ctx, insertFn("before")))
	undo := fmt.Errorf("undo")
	for _, outcome := range []error{undo, nil} {
		err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			for i := range 24 {
				if _, err := tx.ExecContext(ctx, fill, fmt.Sprint("large", i), 1<<20); err != nil {
					return err
				}
			}
			require.Equal(t, 1, rowCount(t, db.Reader()))
			require.Equal(t, 25, rowCount(t, tx))
			if _, err := tx.ExecContext(ctx, "UPDATE items SET id = id || '!' WHERE id LIKE 'large%'"); err != nil {
				return err
			}
			return outcome
		})
		require.ErrorIs(t, err, outcome)
	}
	require.Equal(t, 25, rowCount(t, db.Reader()))
	var result string
	require.NoError(t, db.Reader().QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&result))
	require.Equal(t, "ok", result)
}

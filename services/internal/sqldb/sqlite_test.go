package sqldb_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

const fill = "INSERT INTO items (instance, id, body) VALUES ('acme', $1, zeroblob($2))"

func openSQLite(t *testing.T) *sqldb.DB {
	t.Helper()
	return testkit.Open(t, testkit.Options(t, sqldb.SQLite, migrations, service))
}

func TestReadersCannotWrite(t *testing.T) {
	db := openSQLite(t)
	require.ErrorContains(t, queryError(db.Reader(), insert+" RETURNING id", "a"), "readonly")
}

// limitPages makes the database as full at n pages as a full disk does.
func limitPages(t *testing.T, db *sqldb.DB, n int) {
	t.Helper()
	_, err := db.Exec1(ctx, fmt.Sprint("PRAGMA max_page_count = ", n))
	require.NoError(t, err)
}

// A statement that meets a full disk undoes the whole transaction, though a function may not look at the error.
func TestFullDiskFailsTheGroup(t *testing.T) {
	db := openSQLite(t)
	require.NoError(t, db.Write(ctx, insertFn("before")))
	limitPages(t, db, 20)
	require.ErrorIs(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if _, err := tx.ExecContext(ctx, insert, "lost"); err != nil {
			return err
		}
		_, _ = tx.ExecContext(ctx, fill, "large", 1<<20)
		// The transaction is gone. What follows must not be stored by itself.
		_, _ = tx.ExecContext(ctx, insert, "after")
		var n int
		_ = tx.QueryRowContext(ctx, insert+" RETURNING 1", "after row").Scan(&n)
		return nil
	}), sqldb.ErrUnavailable)
	_, err := db.Exec1(ctx, fill, "large", 1<<20)
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	require.Equal(t, 1, rowCount(t, db.Reader()))
	select {
	case <-db.Failed():
		require.Fail(t, "a full disk is not a failed one")
	default:
	}

	limitPages(t, db, 1_000_000)
	_, err = db.Exec1(ctx, fill, "large", 1<<20)
	require.NoError(t, err, "there is room again")
}

func TestFullDiskFailsTheNeighboursToo(t *testing.T) {
	h := hold(t, nil)
	h.queue(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, "PRAGMA max_page_count = 20")
		return err
	})
	h.queue(ctx, insertFn("neighbour"))
	h.queue(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, fill, "large", 1<<20)
		return err
	})
	close(h.release)
	require.ErrorIs(t, <-h.first, sqldb.ErrUnavailable)
	for _, err := range append(h.collect(), nil)[:3] {
		require.ErrorIs(t, err, sqldb.ErrUnavailable)
	}
	require.Zero(t, rowCount(t, h.Reader()))
	require.NoError(t, h.Write(ctx, insertFn("small")))
}

func TestLogIsCopiedBetweenGroups(t *testing.T) {
	db := openSQLite(t)
	const size = sqldb.CheckpointPages / 4 * 4096 // a little more than a quarter of what is waited for
	for _, id := range []string{"a", "b", "c"} {
		_, err := db.Exec1(ctx, fill, id, size)
		require.NoError(t, err)
	}
	require.Greater(t, waitPages(t, db), sqldb.CheckpointPages/4*3)
	_, err := db.Exec1(ctx, fill, "d", size)
	require.NoError(t, err)
	require.Less(t, waitPages(t, db), sqldb.CheckpointPages/2)

	// A reader that began before keeps the log from being copied whole; after it, it is.
	rows, err := db.Reader().QueryContext(ctx, "SELECT id FROM items")
	require.NoError(t, err)
	defer rows.Close()
	require.True(t, rows.Next())
	for _, id := range []string{"e", "f", "g", "h"} {
		_, err := db.Exec1(ctx, fill, id, size)
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, waitPages(t, db), sqldb.CheckpointPages/2)
	for rows.Next() { // its end ends the reader
	}
	require.NoError(t, rows.Err())
	for _, id := range []string{"i", "j"} {
		_, err := db.Exec1(ctx, fill, id, size)
		require.NoError(t, err)
	}
	require.Less(t, waitPages(t, db), sqldb.CheckpointPages/2)
	require.Equal(t, 10, rowCount(t, db.Reader()))
}

// waitPages is the length of the log after the last group: the writer counts after it has answered, and before it takes the next
// function.
func waitPages(t *testing.T, db *sqldb.DB) (pages int) {
	t.Helper()
	require.NoError(t, db.Write(ctx, func(context.Context, sqldb.Tx) error {
		pages = sqldb.WalPages(db)
		return nil
	}))
	return pages
}

func TestDoubleQuotesAreNoStrings(t *testing.T) {
	db := openSQLite(t)
	var s string
	require.ErrorContains(t, db.Reader().QueryRowContext(ctx, `SELECT "nothing"`).Scan(&s), "no such column")
}

package sqldb_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// mirror remembers in memory which rows functions of Write have inserted.
type mirror struct {
	db   *sqldb.DB
	seen uint64
	rows map[string]bool
}

// sync reads all rows again if something was undone since.
func (m *mirror) sync(ctx context.Context, tx sqldb.Tx) error {
	if m.rows != nil && m.seen == m.db.Undone() {
		return nil
	}
	m.rows, m.seen = map[string]bool{}, m.db.Undone()
	rows, err := tx.QueryContext(ctx, "SELECT id FROM items")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		m.rows[id] = true
	}
	return rows.Err()
}

// insert inserts a row, remembers it, and then returns the result.
func (m *mirror) insert(id string, result error) func(ctx context.Context, tx sqldb.Tx) error {
	return func(ctx context.Context, tx sqldb.Tx) error {
		if err := m.sync(ctx, tx); err != nil {
			return err
		}
		m.rows[id] = true
		if _, err := tx.ExecContext(ctx, insert, id); err != nil {
			return err
		}
		return result
	}
}

// requireTrue holds the memory against the table.
func (m *mirror) requireTrue(t *testing.T) {
	t.Helper()
	require.NoError(t, m.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if err := m.sync(ctx, tx); err != nil {
			return err
		}
		fresh := mirror{db: m.db}
		if err := fresh.sync(ctx, tx); err != nil {
			return err
		}
		require.Equal(t, fresh.rows, m.rows)
		return nil
	}))
}

func TestMemoryOfWritesFollowsWhatIsUndone(t *testing.T) {
	t.Run("nothing", func(t *testing.T) {
		db := openSQLite(t)
		m := &mirror{db: db}
		require.NoError(t, db.Write(ctx, m.insert("a", nil)))
		before := db.Undone()
		require.NoError(t, db.Write(ctx, m.insert("b", nil)))
		require.Equal(t, before, db.Undone(), "memory must not be forgotten for nothing")
		m.requireTrue(t)
	})
	t.Run("a part", func(t *testing.T) {
		h := hold(t, nil)
		m := &mirror{db: h.DB}
		for id, result := range map[string]error{"a": nil, "b": errRefused, "c": nil} {
			h.queue(ctx, m.insert(id, result))
		}
		h.queue(ctx, func(ctx context.Context, tx sqldb.Tx) error { return m.insert("first", nil)(ctx, tx) }) // a row that is there
		close(h.release)
		require.NoError(t, <-h.first)
		require.Len(t, h.collect(), 2)
		m.requireTrue(t)
	})
	t.Run("the transaction, by a panic of the first", func(t *testing.T) {
		db := openSQLite(t)
		m := &mirror{db: db}
		require.Error(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			require.NoError(t, m.insert("a", nil)(ctx, tx))
			panic("bad")
		}))
		m.requireTrue(t)
	})
	t.Run("the transaction, by a full disk", func(t *testing.T) {
		db := openSQLite(t)
		m := &mirror{db: db}
		limitPages(t, db, 20)
		require.ErrorIs(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			require.NoError(t, m.insert("a", nil)(ctx, tx))
			_, err := tx.ExecContext(ctx, fill, "large", 1<<20)
			return err
		}), sqldb.ErrUnavailable)
		limitPages(t, db, 1_000_000)
		m.requireTrue(t)
	})
	t.Run("the commit", func(t *testing.T) {
		options := testkit.Options(t, sqldb.SQLite, migrations, service)
		db := testkit.Open(t, options)
		m := &mirror{db: db}
		require.NoError(t, db.Write(ctx, m.insert("a", nil)))
		restore := swapLog(t, options, "/dev/full")
		require.ErrorIs(t, db.Write(ctx, m.insert("b", nil)), sqldb.ErrUnavailable)
		restore()
		m.requireTrue(t)
	})
}

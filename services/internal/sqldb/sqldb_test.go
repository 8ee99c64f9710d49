package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var (
	ctx        = context.Background()
	migrations = os.DirFS("testdata/migrations")
	errRefused = errors.New("refused by the function")
)

const (
	service = "sqldbtest"
	insert  = "INSERT INTO items (instance, id) VALUES ('acme', $1)"
	count   = "SELECT count(*) FROM items"

	// patience bounds the wait for another process.
	patience = 10 * time.Second
	tick     = time.Millisecond
)

func eachEngine(t *testing.T, test func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	testkit.EachEngine(t, migrations, service, test)
}

func insertFn(id string) func(ctx context.Context, tx sqldb.Tx) error {
	return func(ctx context.Context, tx sqldb.Tx) error {
		_, err := tx.ExecContext(ctx, insert, id)
		return err
	}
}

func rowCount(t *testing.T, r sqldb.Reader) int {
	t.Helper()
	var n int
	require.NoError(t, r.QueryRowContext(ctx, count).Scan(&n))
	return n
}

// queryError is the error of a query, at its beginning or at its end.
func queryError(r sqldb.Reader, query string, args ...any) error {
	rows, err := r.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

func TestWriteIsSeenByReaders(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		require.NoError(t, db.Ping(ctx))
		require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			if _, err := tx.ExecContext(ctx, insert, "a"); err != nil {
				return err
			}
			var n int
			if err := tx.QueryRowContext(ctx, count).Scan(&n); err != nil {
				return err
			}
			if n != 1 {
				return fmt.Errorf("transaction sees %d rows", n)
			}
			return nil
		}))
		require.Equal(t, 1, rowCount(t, db.Reader()))
	})
}

func TestFunctionErrorUndoesAndComesBack(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			if _, err := tx.ExecContext(ctx, insert, "a"); err != nil {
				return err
			}
			return errRefused
		})
		require.Same(t, errRefused, err)
		require.Zero(t, rowCount(t, db.Reader()))
	})
}

func TestPanicUndoesAndComesBackAsError(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			if _, err := tx.ExecContext(ctx, insert, "a"); err != nil {
				return err
			}
			panic("Maria da Silva")
		})
		var panicked *sqldb.PanicError
		require.ErrorAs(t, err, &panicked)
		require.Equal(t, "Maria da Silva", panicked.Value)
		require.Contains(t, string(panicked.Stack), "TestPanicUndoes")
		require.NotContains(t, err.Error(), "Maria")
		require.Zero(t, rowCount(t, db.Reader()))
		require.NoError(t, db.Write(ctx, insertFn("a")), "the store goes on")
	})
}

func TestForgottenRowsAreAnError(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		require.NoError(t, db.Write(ctx, insertFn("a")))
		err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT id FROM items") //nolint:sqlclosecheck // the mistake that is tested
			if err != nil {
				return err
			}
			rows.Next()
			return rows.Err()
		})
		require.ErrorContains(t, err, "without closing its rows")
		require.NoError(t, db.Write(ctx, insertFn("b")), "the store goes on")
	})
}

func TestTransactionEndsWithItsFunction(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		var kept sqldb.Tx
		require.NoError(t, db.Write(ctx, func(_ context.Context, tx sqldb.Tx) error {
			kept = tx
			return nil
		}))
		_, err := kept.ExecContext(ctx, insert, "a")
		require.ErrorIs(t, err, sql.ErrTxDone)
		require.ErrorIs(t, queryError(kept, count), sql.ErrTxDone)
		var n int
		require.Error(t, kept.QueryRowContext(ctx, count).Scan(&n))
	})
}

func TestNestedWriteIsRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		err := db.Write(ctx, func(ctx context.Context, _ sqldb.Tx) error {
			return db.Write(ctx, insertFn("a"))
		})
		require.ErrorContains(t, err, "inside another write")
		require.ErrorContains(t, db.Write(ctx, func(ctx context.Context, _ sqldb.Tx) error {
			_, err := db.Exec1(ctx, insert, "a")
			return err
		}), "inside another write")
		require.ErrorContains(t, db.Write(ctx, func(ctx context.Context, _ sqldb.Tx) error {
			return db.Query1(ctx, insert, []any{"a"})
		}), "inside another write")
	})
}

func TestExec1AndQuery1(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		result, err := db.Exec1(ctx, insert, "a")
		require.NoError(t, err)
		affected, err := result.RowsAffected()
		require.NoError(t, err)
		require.EqualValues(t, 1, affected)

		_, err = db.Exec1(ctx, insert, "a")
		require.True(t, sqldb.IsUnique(err), "%v", err)

		var id string
		upsert := insert + " ON CONFLICT DO NOTHING RETURNING id"
		require.NoError(t, db.Query1(ctx, upsert, []any{"b"}, &id))
		require.Equal(t, "b", id)
		require.True(t, sqldb.IsNoRows(db.Query1(ctx, upsert, []any{"b"}, &id)))
		require.Equal(t, 2, rowCount(t, db.Reader()))
	})
}

func TestIsUnique(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		require.NoError(t, db.Write(ctx, insertFn("a")))
		err := db.Write(ctx, insertFn("a"))
		require.True(t, sqldb.IsUnique(fmt.Errorf("insert item: %w", err)))
		require.NotErrorIs(t, err, sqldb.ErrUnavailable)

		_, err = db.Exec1(ctx, "INSERT INTO items (instance, id) VALUES ('acme', NULL)")
		require.Error(t, err)
		require.False(t, sqldb.IsUnique(err))
		require.False(t, sqldb.IsUnique(nil))
		require.False(t, sqldb.IsNoRows(nil))
	})
}

func TestValuesKeepTheirMeaning(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		due := time.Date(2026, 3, 1, 9, 30, 0, 123_456_789, time.FixedZone("west", -3*3600))
		body := []byte{0, 1, 0xff}
		const all = "INSERT INTO items (instance, id, body, count, done, due) VALUES ($1, $2, $3, $4, $5, $6)"
		_, err := db.Exec1(ctx, all, "acme", "ação 🙂", body, int64(-1)<<62, true, sqldb.NullMicros(due))
		require.NoError(t, err)
		_, err = db.Exec1(ctx, all, "acme", "b", nil, 0, false, sqldb.NullMicros(time.Time{}))
		require.NoError(t, err)

		var (
			gotBody []byte
			n       int64
			done    bool
			at      sql.NullInt64
		)
		const one = "SELECT body, count, done, due FROM items WHERE instance = $1 AND id = $2"
		require.NoError(t, db.Reader().QueryRowContext(ctx, one, "acme", "ação 🙂").Scan(&gotBody, &n, &done, &at))
		require.Equal(t, body, gotBody)
		require.Equal(t, int64(-1)<<62, n)
		require.True(t, done)
		require.Equal(t, due.Truncate(time.Microsecond).UTC(), sqldb.NullTime(at))

		require.NoError(t, db.Reader().QueryRowContext(ctx, one, "acme", "b").Scan(&gotBody, &n, &done, &at))
		require.Nil(t, gotBody)
		require.False(t, done)
		require.Zero(t, sqldb.NullTime(at))

		var none string
		err = db.Reader().QueryRowContext(ctx, "SELECT id FROM items WHERE id = 'none'").Scan(&none)
		require.True(t, sqldb.IsNoRows(err))
	})
}

func TestMicros(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 30, 0, 123_456_000, time.UTC)
	require.Equal(t, at, sqldb.Time(sqldb.Micros(at)))
	require.Equal(t, at, sqldb.Time(sqldb.Micros(at.Add(999))), "nanoseconds are cut off")
	require.Equal(t, time.UTC, sqldb.Time(0).Location())
}

func TestOneQueryInsideItself(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		if db.Dialect() == sqldb.Postgres {
			t.Skip("one connection has one result at a time on PostgreSQL")
		}
		for _, id := range []string{"a", "b", "c"} {
			require.NoError(t, db.Write(ctx, insertFn(id)))
		}
		var pairs []string
		require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			const all = "SELECT id FROM items ORDER BY id"
			return walk(ctx, tx, all, func(outer string) error {
				return walk(ctx, tx, all, func(inner string) error {
					pairs = append(pairs, outer+inner)
					return nil
				})
			})
		}))
		require.Equal(t, "aa ab ac ba bb bc ca cb cc", strings.Join(pairs, " "))
	})
}

func walk(ctx context.Context, r sqldb.Reader, query string, each func(id string) error) error {
	rows, err := r.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		if err := each(id); err != nil {
			return err
		}
	}
	return rows.Err()
}

func TestManyDifferentStatements(t *testing.T) {
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		for i := range sqldb.MaxStatements + 10 {
			query := fmt.Sprintf("SELECT %d, count(*) FROM items", i)
			var n, rows int
			require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
				return tx.QueryRowContext(ctx, query).Scan(&n, &rows)
			}))
			require.Equal(t, i, n)
		}
	})
}

func TestUseAfterClose(t *testing.T) {
	testkit.EachEngineOptions(t, migrations, service, func(t *testing.T, options sqldb.Options) {
		db, err := sqldb.Open(ctx, options)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		require.NoError(t, db.Close(), "twice")

		require.ErrorIs(t, db.Write(ctx, insertFn("a")), sqldb.ErrClosed)
		require.ErrorIs(t, db.Write(ctx, insertFn("a")), sqldb.ErrUnavailable)
		_, err = db.Exec1(ctx, insert, "a")
		require.ErrorIs(t, err, sqldb.ErrClosed)
		require.ErrorIs(t, db.Query1(ctx, insert, []any{"a"}), sqldb.ErrClosed)
		require.ErrorIs(t, db.Ping(ctx), sqldb.ErrClosed)
		require.ErrorIs(t, queryError(db.Reader(), count), sqldb.ErrClosed)
	})
}

func TestDataSurvivesReopening(t *testing.T) {
	testkit.EachEngineOptions(t, migrations, service, func(t *testing.T, options sqldb.Options) {
		first, err := sqldb.Open(ctx, options)
		require.NoError(t, err)
		require.NoError(t, first.Write(ctx, insertFn("a")))
		require.NoError(t, first.Close())
		require.Equal(t, 1, rowCount(t, testkit.Open(t, options).Reader()))
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for _, name := range []string{"", "A", "1a", "a-b", "a;b", "a/b", "ação", strings.Repeat("a", 41)} {
		_, err := sqldb.Open(ctx, sqldb.Options{Service: name, DataDir: t.TempDir()})
		require.ErrorContains(t, err, "is not the name of a store", "%q", name)
		require.Error(t, sqldb.Migrate(ctx, sqldb.Options{Service: name, DataDir: t.TempDir()}))
	}
	db, err := sqldb.Open(ctx, sqldb.Options{Service: strings.Repeat("a", 40), DataDir: t.TempDir()})
	require.NoError(t, err, "no migrations, clock, logger or metrics")
	require.NoError(t, db.Close())
	_, err = sqldb.Open(ctx, sqldb.Options{Service: "a"})
	require.ErrorContains(t, err, "neither a data directory nor a database URL")
}

func TestMetricsAreSharedByStores(t *testing.T) {
	testkit.EachEngineOptions(t, migrations, service, func(t *testing.T, options sqldb.Options) {
		registry := prometheus.NewPedanticRegistry()
		options.Metrics = registry
		one := testkit.Open(t, options)
		options.Service = "other"
		two := testkit.Open(t, options)
		require.NoError(t, one.Write(ctx, insertFn("a")))
		require.Error(t, one.Write(ctx, insertFn("a")), "not counted: not on disk")
		require.NoError(t, two.Write(ctx, insertFn("a")))
		_, err := two.Exec1(ctx, insert, "b")
		require.NoError(t, err)

		require.Equal(t, map[string]uint64{
			"prosa_store_commits_total other":     2,
			"prosa_store_commits_total sqldbtest": 1,
			"prosa_store_group_size other":        2,
			"prosa_store_group_size sqldbtest":    1,
			"prosa_store_retries_total other":     0,
			"prosa_store_retries_total sqldbtest": 0,
			"prosa_store_write_seconds other":     2,
			"prosa_store_write_seconds sqldbtest": 2,
		}, gather(t, registry))
		require.Equal(t, sqldb.Stats{Commits: 2, Writes: 2}, two.Stats())
	})
}

// gather returns each counter's value and each histogram's number of observations, by name and store.
func gather(t *testing.T, registry *prometheus.Registry) map[string]uint64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	got := map[string]uint64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			require.Len(t, metric.GetLabel(), 1)
			require.Equal(t, "store", metric.GetLabel()[0].GetName())
			key := family.GetName() + " " + metric.GetLabel()[0].GetValue()
			got[key] = uint64(metric.GetCounter().GetValue()) + metric.GetHistogram().GetSampleCount()
		}
	}
	return got
}

func TestKeepMakesAValueOnceForEachStore(t *testing.T) {
	type key struct{}
	type other struct{}
	db := openSQLite(t)
	first := db.Keep(key{}, func() any { return new(int) })
	require.Same(t, first, db.Keep(key{}, func() any { t.Fatal("it is there"); return nil }))
	require.NotSame(t, first, db.Keep(other{}, func() any { return new(int) }))
	require.NotSame(t, first, openSQLite(t).Keep(key{}, func() any { return new(int) }))
}

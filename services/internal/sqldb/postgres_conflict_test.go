package sqldb_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// openWith opens a store whose sessions have settings of the server.
func openWith(t *testing.T, settings map[string]string) (*sqldb.DB, *prometheus.Registry) {
	t.Helper()
	options := testkit.Options(t, sqldb.Postgres, migrations, service)
	u, err := url.Parse(options.DatabaseURL)
	require.NoError(t, err)
	query := u.Query()
	for name, value := range settings {
		query.Set(name, value)
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	options.DatabaseURL = u.String()
	registry := prometheus.NewRegistry()
	options.Metrics = registry
	return testkit.Open(t, options), registry
}

func retries(t *testing.T, registry *prometheus.Registry) int {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "prosa_store_retries_total" {
			return int(family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	require.Fail(t, "no such metric")
	return 0
}

// meeting makes the first attempts of two functions wait for each other.
type meeting struct{ both sync.WaitGroup }

func newMeeting() *meeting {
	m := &meeting{}
	m.both.Add(2)
	return m
}

func (m *meeting) wait() {
	m.both.Done()
	m.both.Wait()
}

// Two transactions read the same row and then write what follows from it. Above READ COMMITTED the server refuses the one that
// comes second, and its second attempt counts on.
func TestConflictingTransactionsBothCount(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			db, registry := openWith(t, map[string]string{"default_transaction_isolation": level})
			require.NoError(t, db.Write(ctx, insertFn("a")))
			met := newMeeting()
			var group errgroup.Group
			for range 2 {
				group.Go(func() error {
					first := true
					return db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
						var n int
						if err := tx.QueryRowContext(ctx, "SELECT count FROM items WHERE instance = 'acme' AND id = 'a'").Scan(&n); err != nil {
							return err
						}
						if first {
							first = false
							met.wait()
						}
						_, err := tx.ExecContext(ctx, "UPDATE items SET count = $1 WHERE instance = 'acme' AND id = 'a'", n+1)
						return err
					})
				})
			}
			require.NoError(t, group.Wait())
			var n int
			require.NoError(t, db.Reader().QueryRowContext(ctx, "SELECT count FROM items WHERE id = 'a'").Scan(&n))
			require.Equal(t, 2, n)
			require.Positive(t, retries(t, registry))
		})
	}
}

// Neither of two transactions writes what the other one writes, but each writes what follows from what the other one changes: only
// SERIALIZABLE refuses that, and often not before the COMMIT.
func TestWriteSkewIsRunAgain(t *testing.T) {
	db, registry := openWith(t, map[string]string{"default_transaction_isolation": "serializable"})
	met := newMeeting()
	var group errgroup.Group
	for _, id := range []string{"a", "b"} {
		group.Go(func() error {
			first := true
			return db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
				var n int
				if err := tx.QueryRowContext(ctx, count).Scan(&n); err != nil {
					return err
				}
				if first {
					first = false
					met.wait()
				}
				_, err := tx.ExecContext(ctx, "INSERT INTO items (instance, id, count) VALUES ('acme', $1, $2)", id, n)
				return err
			})
		})
	}
	require.NoError(t, group.Wait())
	var counts string
	require.NoError(t, db.Reader().QueryRowContext(ctx, "SELECT string_agg(CAST(count AS TEXT), ',' ORDER BY count) FROM items").Scan(&counts))
	require.Equal(t, "0,1", counts, "as if one had come after the other")
	require.Positive(t, retries(t, registry))
}

func TestDeadlockIsRunAgain(t *testing.T) {
	db, registry := openWith(t, map[string]string{"deadlock_timeout": "10"})
	require.NoError(t, db.Write(ctx, insertFn("a")))
	require.NoError(t, db.Write(ctx, insertFn("b")))
	const update = "UPDATE items SET count = count + 1 WHERE instance = 'acme' AND id = $1"
	met := newMeeting()
	var group errgroup.Group
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		group.Go(func() error {
			first := true
			return db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
				if _, err := tx.ExecContext(ctx, update, order[0]); err != nil {
					return err
				}
				if first {
					first = false
					met.wait()
				}
				_, err := tx.ExecContext(ctx, update, order[1])
				return err
			})
		})
	}
	require.NoError(t, group.Wait())
	var counts string
	require.NoError(t, db.Reader().QueryRowContext(ctx, "SELECT string_agg(CAST(count AS TEXT), ',') FROM items").Scan(&counts))
	require.Equal(t, "2,2", counts)
	require.Positive(t, retries(t, registry), "one of them was refused, or each by the other")
}

// refuse makes a query fail as often as a sequence says, as a cluster does whose servers' clocks are apart.
const refuse = `
CREATE SEQUENCE asked;
CREATE FUNCTION refuse(times BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE n BIGINT := nextval('asked');
BEGIN
	IF n <= times THEN RAISE EXCEPTION 'Restart read required' USING ERRCODE = '40001'; END IF;
	RETURN n;
END $$`

func TestQueryIsRunAgain(t *testing.T) {
	for name, query := range map[string]func(r sqldb.Reader, times int) (int, error){
		"row": func(r sqldb.Reader, times int) (n int, err error) {
			return n, r.QueryRowContext(ctx, "SELECT refuse($1)", times).Scan(&n)
		},
		"rows": func(r sqldb.Reader, times int) (n int, err error) {
			rows, err := r.QueryContext(ctx, "SELECT refuse($1)", times)
			if err != nil {
				return 0, err
			}
			defer rows.Close()
			for rows.Next() {
				if err := rows.Scan(&n); err != nil {
					return 0, err
				}
			}
			return n, rows.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, registry := openWith(t, nil)
			_, err := db.Exec1(ctx, refuse)
			require.NoError(t, err)
			n, err := query(db.Reader(), sqldb.MaxAttempts-1)
			require.NoError(t, err)
			require.Equal(t, sqldb.MaxAttempts, n)
			require.Equal(t, sqldb.MaxAttempts-1, retries(t, registry))

			_, err = query(db.Reader(), 2*sqldb.MaxAttempts)
			require.ErrorIs(t, err, sqldb.ErrUnavailable)
			require.Equal(t, 1, strings.Count(err.Error(), sqldb.ErrUnavailable.Error()), err)
			require.Equal(t, 2*(sqldb.MaxAttempts-1), retries(t, registry))
		})
	}
}

// After the first row somebody has seen a part of the answer: there is no other attempt, and the error says that the call may be made
// again.
func TestQueryThatIsRefusedInTheMiddle(t *testing.T) {
	db, registry := openWith(t, nil)
	_, err := db.Exec1(ctx, refuse)
	require.NoError(t, err)
	rows, err := db.Reader().QueryContext(ctx, "SELECT CASE WHEN i < 1000 THEN i ELSE refuse($1) END FROM generate_series(1, 1000) AS i", 9)
	require.NoError(t, err)
	defer rows.Close()
	seen := 0
	for rows.Next() {
		seen++
	}
	require.ErrorIs(t, rows.Err(), sqldb.ErrUnavailable)
	require.Equal(t, 999, seen)
	require.Zero(t, retries(t, registry))
}

// Two hosts stand for a primary and its standbys.
func TestStoreIsOnAServerThatTakesWrites(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, migrations, service)
	direct := testkit.Open(t, options)
	u, err := url.Parse(options.DatabaseURL)
	require.NoError(t, err)
	set := func(readOnly string) {
		_, err := direct.Exec1(ctx, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_read_only = %s", strings.TrimPrefix(u.Path, "/"), readOnly))
		require.NoError(t, err)
	}
	several := *u
	several.Host += "," + u.Host[:strings.LastIndexByte(u.Host, ':')] + ":1"
	standby := *u
	standby.RawQuery += "&target_session_attrs=read-only"
	set("on")
	for _, address := range []url.URL{several, standby} {
		refused := options
		refused.MigrateOnOpen = false
		refused.DatabaseURL = address.String()
		_, err := sqldb.Open(ctx, refused)
		require.ErrorIs(t, err, sqldb.ErrUnavailable, "all reads would be those of a standby")
	}
	set("off")
	for _, address := range []url.URL{several, standby} {
		options.DatabaseURL = address.String()
		db := testkit.Open(t, options)
		_, err := db.Exec1(ctx, "DELETE FROM items WHERE instance = 'acme'")
		require.NoError(t, err)
		require.NoError(t, db.Write(ctx, insertFn("a")))
		require.Equal(t, 1, rowCount(t, db.Reader()), "what was written is read")
	}
}

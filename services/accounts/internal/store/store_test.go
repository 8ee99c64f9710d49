package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/accounts/internal/store/storetest"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/quotatest"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestContract(t *testing.T) {
	for _, dialect := range []sqldb.Dialect{sqldb.SQLite, sqldb.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) *sqldb.DB {
				return testkit.Open(t, testkit.Options(t, dialect, store.Migrations(), "accounts"))
			})
		})
	}
}

func TestCallsAreCountedInPostgres(t *testing.T) {
	quotatest.Run(t, func(t *testing.T, c clock.Clock) quotatest.Counts {
		db := testkit.Open(t, testkit.Options(t, sqldb.Postgres, store.Migrations(), "accounts"))
		return store.NewSharedCounter(db, c.Now)
	})
}

func TestCallsAreCountedOverSQLite(t *testing.T) {
	quotatest.Run(t, func(t *testing.T, c clock.Clock) quotatest.Counts {
		db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, store.Migrations(), "accounts"))
		return quota.NewLocal(store.NewLedger(db), c)
	})
}

func TestTwoCountersShareOneCount(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, store.Migrations(), "accounts")
	one, other := testkit.Open(t, options), testkit.Open(t, options)
	quotatest.RunTwo(t, store.NewSharedCounter(one, nil), store.NewSharedCounter(other, nil))
}

func TestAClockThatIsSetBackLocksNobodyOut(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.Postgres, store.Migrations(), "accounts"))
	now := clock.System()
	quotatest.RunSetBack(t, store.NewSharedCounter(db, func() time.Time { return now.Now() }), func(c clock.Clock) { now = c })
}

// TestOneStatementACall counts what PostgreSQL was asked: transactions that ended, and the row versions that they made. A refused
// call makes none.
func TestOneStatementACall(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, store.Migrations(), "accounts")
	db := testkit.Open(t, options)
	counter := store.NewSharedCounter(db, clock.NewManual(quotatest.Start).Now)
	ask := quota.Ask{Subject: quotatest.Key("1"), Limits: quota.Limits{PerSecond: 10, PerDay: 50_000}, Day: 20_513}
	_, err := counter.Take(t.Context(), ask) // the first one also prepares the statement
	require.NoError(t, err)
	writes := db.Stats().Writes
	for range 20 {
		_, err := counter.Take(t.Context(), ask)
		require.NoError(t, err)
	}
	require.Equal(t, int64(20), db.Stats().Writes-writes)
	var made string
	require.NoError(t, db.Reader().QueryRowContext(t.Context(), `
		SELECT n_tup_ins || ' inserted, ' || n_tup_upd || ' updated'
		FROM pg_stat_xact_user_tables WHERE relname = 'key_usage'`).Scan(&made))
	t.Log(made)
	require.NoError(t, db.Reader().QueryRowContext(t.Context(), `SELECT used || ' ' || cardinality(times) FROM key_usage`).Scan(&made))
	require.Equal(t, "10 10", made)
}

// TestABlockIsOneWrite counts how often the embedded store waits for the disk.
func TestABlockIsOneWrite(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, store.Migrations(), "accounts"))
	c := clock.NewManual(quotatest.Start)
	counter := quota.NewLocal(store.NewLedger(db), c)
	writes := db.Stats().Commits
	for range 1000 {
		tally, err := counter.Take(t.Context(), quota.Ask{Subject: quotatest.Key("1"), Limits: quota.Limits{PerSecond: 10, PerDay: 50_000}, Day: 20_513})
		require.NoError(t, err)
		require.True(t, tally.Allowed)
		c.Advance(quota.Window / 10)
	}
	require.Equal(t, int64(10), db.Stats().Commits-writes)
}

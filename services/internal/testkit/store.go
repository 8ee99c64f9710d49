package testkit

import (
	"context"
	"io/fs"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// EachEngine runs test as a subtest on SQLite and on PostgreSQL, each time with a new, migrated store that ends with the subtest.
// Without a PostgreSQL server that subtest is skipped, and fails when CI=true; see Postgres.
func EachEngine(t *testing.T, migrations fs.FS, service string, test func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	EachEngineOptions(t, migrations, service, func(t *testing.T, options sqldb.Options) {
		test(t, Open(t, options))
	})
}

// EachEngineOptions is EachEngine for tests that open the store themselves: twice, or with other options.
func EachEngineOptions(t *testing.T, migrations fs.FS, service string, test func(t *testing.T, options sqldb.Options)) {
	t.Helper()
	for _, dialect := range []sqldb.Dialect{sqldb.SQLite, sqldb.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			test(t, Options(t, dialect, migrations, service))
		})
	}
}

// Options say how to open a new store of the test's own. It is gone after the test.
func Options(t testing.TB, dialect sqldb.Dialect, migrations fs.FS, service string) sqldb.Options {
	t.Helper()
	options := sqldb.Options{
		Service:       service,
		Migrations:    migrations,
		Logger:        slog.New(slog.NewTextHandler(t.Output(), nil)),
		MigrateOnOpen: true,
	}
	if dialect == sqldb.Postgres {
		options.DatabaseURL = Postgres(t)
	} else {
		options.DataDir = t.TempDir()
	}
	return options
}

// Open opens a store and closes it after the test.
func Open(t testing.TB, options sqldb.Options) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(context.Background(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

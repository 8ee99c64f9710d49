package sqldb_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// files makes migrations of both dialects out of names and texts.
func files(pairs ...string) fstest.MapFS {
	made := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		for _, dialect := range []string{"sqlite", "postgres"} {
			made[dialect+"/"+pairs[i]] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + pairs[i+1])}
		}
	}
	return made
}

const (
	one   = "CREATE TABLE one (id BIGINT NOT NULL PRIMARY KEY);"
	two   = "CREATE TABLE two (id BIGINT NOT NULL PRIMARY KEY);"
	wrong = "CREATE TABLE three (id BIGINT NOT NULL PRIMARY KEY); INSERT INTO nowhere VALUES (1);"
)

func TestCheckMigrations(t *testing.T) {
	require.NoError(t, sqldb.CheckMigrations(migrations))
	require.NoError(t, sqldb.CheckMigrations(files("00001_a.sql", one, "00002_b.sql", two)))

	differing := files("00001_a.sql", one)
	differing["sqlite/00002_b.sql"] = &fstest.MapFile{Data: []byte("x")}
	differing["postgres/00002_c.sql"] = &fstest.MapFile{Data: []byte("x")}
	onlyOne := files("00001_a.sql", one)
	delete(onlyOne, "postgres/00001_a.sql")
	for want, bad := range map[string]fstest.MapFS{
		"migrations differ":      differing,
		"postgres":               onlyOne,
		"should have number 1":   files("00002_a.sql", one),
		"should have number 2":   files("00001_a.sql", one, "00003_b.sql", two),
		"is not named like":      files("1_a.sql", one),
		"00002_B.sql is not":     files("00001_a.sql", one, "00002_B.sql", two),
		"README.md is not named": files("00001_a.sql", one, "README.md", ""),
		"sqlite: file does not":  {},
	} {
		require.ErrorContains(t, sqldb.CheckMigrations(bad), want)
	}
}

func TestSchemaOldAndNew(t *testing.T) {
	testkit.EachEngineOptions(t, nil, service, func(t *testing.T, options sqldb.Options) {
		options.MigrateOnOpen = false
		options.Migrations = files("00001_a.sql", one)
		if options.DatabaseURL != "" {
			_, err := sqldb.Open(ctx, options)
			require.ErrorIs(t, err, sqldb.ErrSchemaOld)
			require.ErrorContains(t, err, "prosa migrate")
			require.NoError(t, sqldb.Migrate(ctx, options))
		}
		open := func() error {
			db, err := sqldb.Open(ctx, options)
			if err != nil {
				return err
			}
			return db.Close()
		}
		require.NoError(t, open())

		options.Migrations = files("00001_a.sql", one, "00002_b.sql", two)
		require.NoError(t, sqldb.Migrate(ctx, options))
		require.NoError(t, sqldb.Migrate(ctx, options), "twice")
		require.NoError(t, open())

		options.Migrations = files("00001_a.sql", one)
		err := open()
		require.ErrorIs(t, err, sqldb.ErrSchemaNew)
		require.ErrorContains(t, err, "schema is at 2, program at 1")
		require.ErrorIs(t, sqldb.Migrate(ctx, options), sqldb.ErrSchemaNew)
		options.MigrateOnOpen = true
		require.ErrorIs(t, open(), sqldb.ErrSchemaNew)
	})
}

func TestWrongMigrationLeavesTheOnesBefore(t *testing.T) {
	testkit.EachEngineOptions(t, files("00001_a.sql", one, "00002_b.sql", wrong), service, func(t *testing.T, options sqldb.Options) {
		_, err := sqldb.Open(ctx, options)
		require.ErrorContains(t, err, "apply migrations")
		options.Migrations = files("00001_a.sql", one, "00002_b.sql", two)
		db := testkit.Open(t, options)
		var n int
		require.NoError(t, db.Reader().QueryRowContext(ctx, "SELECT count(*) FROM one, two").Scan(&n))
		require.Error(t, db.Reader().QueryRowContext(ctx, "SELECT count(*) FROM three").Scan(&n), "its transaction was undone")
	})
}

func TestManyMigrateAtOnce(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, files("00001_a.sql", one, "00002_b.sql", two), service)
	const processes = 4
	errs := make([]error, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() { errs[i] = sqldb.Migrate(ctx, options) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	options.MigrateOnOpen = false
	testkit.Open(t, options)
}

func TestServicesDoNotMeet(t *testing.T) {
	testkit.EachEngineOptions(t, migrations, "first", func(t *testing.T, options sqldb.Options) {
		first := testkit.Open(t, options)
		options.Service = "second"
		second := testkit.Open(t, options)
		require.NoError(t, first.Write(ctx, insertFn("a")))
		require.Equal(t, 1, rowCount(t, first.Reader()))
		require.Zero(t, rowCount(t, second.Reader()))
	})
}

func TestOneProcessOwnsAFile(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations, service)
	options.DataDir = filepath.Join(options.DataDir, "new", "data")
	db := testkit.Open(t, options)
	require.NoError(t, db.Write(ctx, insertFn("a")))

	_, err := sqldb.Open(ctx, options)
	require.ErrorIs(t, err, sqldb.ErrLocked)
	require.ErrorContains(t, err, filepath.Join(options.DataDir, service+".lock"))
	require.ErrorIs(t, sqldb.Migrate(ctx, options), sqldb.ErrLocked)

	info, err := os.Stat(options.DataDir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	made, err := os.ReadDir(options.DataDir)
	require.NoError(t, err)
	var names []string
	for _, entry := range made {
		names = append(names, entry.Name())
		info, err := entry.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), entry.Name())
	}
	require.Equal(t, []string{service + ".db", service + ".db-shm", service + ".db-wal", service + ".lock"}, names)

	require.NoError(t, db.Close())
	testkit.Open(t, options)
}

func TestNameOfDirectoryMayBeStrange(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations, service)
	options.DataDir = filepath.Join(options.DataDir, "a?mode=memory #1 100% ação")
	db := testkit.Open(t, options)
	require.NoError(t, db.Write(ctx, insertFn("a")))
	info, err := os.Stat(filepath.Join(options.DataDir, service+".db"))
	require.NoError(t, err)
	require.NotZero(t, info.Size())
}

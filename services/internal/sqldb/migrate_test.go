package sqldb_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
	one    = "CREATE TABLE one (id BIGINT NOT NULL PRIMARY KEY);"
	two    = "CREATE TABLE two (id BIGINT NOT NULL PRIMARY KEY);"
	oldest = "UPDATE schema_program SET oldest ="
	wrong  = "CREATE TABLE three (id BIGINT NOT NULL PRIMARY KEY); INSERT INTO nowhere VALUES (1);"
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

		var log strings.Builder
		options.Logger = slog.New(slog.NewTextHandler(&log, nil))
		options.Migrations = files("00001_a.sql", one)
		require.NoError(t, open(), "it takes nothing away")
		require.Contains(t, log.String(), "schema=2 program=1 oldest=1")
		require.NoError(t, sqldb.Migrate(ctx, options), "as when a release is taken back")
		options.MigrateOnOpen = true
		require.NoError(t, open())
		options.MigrateOnOpen = false

		options.Migrations = files("00001_a.sql", one, "00002_b.sql", two, "00003_c.sql", "DROP TABLE one;\n"+oldest+" 2;")
		require.NoError(t, sqldb.Migrate(ctx, options))
		options.Migrations = files("00001_a.sql", one, "00002_b.sql", two)
		require.NoError(t, open(), "it knows that the table goes")
		options.Migrations = files("00001_a.sql", one)
		err := open()
		require.ErrorIs(t, err, sqldb.ErrSchemaNew)
		require.ErrorContains(t, err, "schema is at 3, program at 1")
		require.ErrorIs(t, sqldb.Migrate(ctx, options), sqldb.ErrSchemaNew)
		options.MigrateOnOpen = true
		require.ErrorIs(t, open(), sqldb.ErrSchemaNew)
	})
}

// TestASchemaThatDoesNotSayIsTooNew has the row go that says which programs can work on a schema.
func TestASchemaThatDoesNotSayIsTooNew(t *testing.T) {
	for _, forget := range []string{"DELETE FROM schema_program", "DROP TABLE schema_program"} {
		testkit.EachEngineOptions(t, files("00001_a.sql", one, "00002_b.sql", two), service, func(t *testing.T, options sqldb.Options) {
			db, err := sqldb.Open(ctx, options)
			require.NoError(t, err)
			_, err = db.Exec1(ctx, forget)
			require.NoError(t, errors.Join(err, db.Close()))
			options.Migrations = files("00001_a.sql", one)
			_, err = sqldb.Open(ctx, options)
			require.ErrorIs(t, err, sqldb.ErrSchemaNew)
		})
	}
}

func TestMigrationsLeaveOlderProgramsAtWork(t *testing.T) {
	const (
		index      = "CREATE INDEX CONCURRENTLY one_i ON one (i);"
		dropped    = "DROP INDEX CONCURRENTLY IF EXISTS one_i;"
		unlimited  = "-- +goose NO TRANSACTION\nSET lock_timeout = 0;\n"
		notAllowed = "older programs may not be able"
	)
	for _, good := range []string{
		two + "CREATE UNIQUE INDEX two_i ON two (i); CREATE INDEX two_j ON two (j);",
		"ALTER TABLE one ADD COLUMN a TEXT; ALTER TABLE one ADD COLUMN b NUMERIC(3,1) NOT NULL DEFAULT 0;",
		"ALTER TABLE one ADD COLUMN a TEXT;\n-- +goose Down\nALTER TABLE one DROP COLUMN a;",
		"-- Next time we DROP TABLE one;\nSELECT 1;",
		"DROP TABLE one; update schema_program\nset oldest = 2;",
		unlimited + dropped + index + "RESET lock_timeout;",
	} {
		require.NoError(t, sqldb.CheckMigrations(files("00001_a.sql", one, "00002_b.sql", good)), good)
	}
	for bad, want := range map[string]string{
		"DROP TABLE one;":                                                          notAllowed,
		"ALTER TABLE one DROP COLUMN a;":                                           notAllowed,
		"alter table one rename column a to b;":                                    notAllowed,
		"ALTER TABLE one RENAME TO three;":                                         notAllowed,
		"ALTER TABLE one ALTER COLUMN a TYPE TEXT;":                                notAllowed,
		"ALTER TABLE one ALTER COLUMN a SET NOT NULL;":                             notAllowed,
		"ALTER TABLE one ALTER a DROP DEFAULT;":                                    notAllowed,
		"ALTER TABLE one ADD CONSTRAINT c CHECK (a > 0);":                          notAllowed,
		"ALTER TABLE one ADD COLUMN a NUMERIC(3,1) NOT NULL;":                      notAllowed,
		"ALTER TABLE one ADD a INT DEFAULT 0, ADD b INT\nNOT NULL;":                notAllowed,
		unlimited + dropped + "CREATE UNIQUE INDEX CONCURRENTLY one_i ON one (i);": notAllowed,
		"CREATE INDEX one_i ON one (i);":                                           "make it CONCURRENTLY",
		unlimited + index:                                                          "may be there, broken off",
		"-- +goose NO TRANSACTION\n" + dropped + index:                             "begins with SET lock_timeout = 0",
		"DROP TABLE one; " + oldest + " 3;":                                        "does not know 3 migrations",
	} {
		require.ErrorContains(t, sqldb.CheckMigrations(files("00001_a.sql", one, "00002_b.sql", bad)), want, bad)
	}
}

// TestAMigrationStandsInNobodysWay has somebody read a table for long, as a backup does, while a migration wants to change it: those
// who come after it are kept waiting for a moment only, and it is done when the reader is.
func TestAMigrationStandsInNobodysWay(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, files("00001_a.sql", one), service)
	db := testkit.Open(t, options)
	read, done, ended := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	go func() {
		ended <- db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			var n int
			err := tx.QueryRowContext(ctx, "SELECT count(*) FROM one").Scan(&n)
			close(read)
			<-done
			return err
		})
	}()
	<-read
	waits := make(chan struct{}, 1)
	options.Logger = slog.New(slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
		if bytes.Contains(line, []byte("waits for a table that is in use")) {
			waits <- struct{}{}
		}
		return len(line), nil
	}), nil))
	options.Migrations = files("00001_a.sql", one, "00002_b.sql", "ALTER TABLE one ADD COLUMN a TEXT;")
	go func() { ended <- sqldb.Migrate(ctx, options) }()
	<-waits
	_, err := db.Exec1(ctx, "INSERT INTO one (id) VALUES (1)")
	require.NoError(t, err)
	close(done)
	require.NoError(t, errors.Join(<-ended, <-ended))
	_, err = db.Exec1(ctx, "INSERT INTO one (id, a) VALUES (2, 'a')")
	require.NoError(t, err)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

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

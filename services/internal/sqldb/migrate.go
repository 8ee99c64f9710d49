package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/pressly/goose/v3"
)

// versionTable is goose's record of what was applied; each schema has its own.
const versionTable = "goose_db_version"

// Migrate brings the schema of one store up to date and closes it again. A SQLite store must not be open meanwhile. Processes that
// migrate one PostgreSQL schema at the same time wait for each other.
func Migrate(ctx context.Context, o Options) error {
	if err := o.complete(); err != nil {
		return err
	}
	var err error
	if o.dialect() == Postgres {
		err = migratePostgres(ctx, o)
	} else {
		err = migrateFile(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("migrate %s store of %s: %w", o.dialect(), o.Service, err)
	}
	return nil
}

func migrateFile(ctx context.Context, o Options) error {
	file, unlock, err := claimFile(o)
	if err != nil {
		return err
	}
	return errors.Join(migrateSQLite(ctx, o, file), unlock())
}

// migrateSQLite works on a connection of its own, which is closed when it is done.
func migrateSQLite(ctx context.Context, o Options, file string) error {
	if o.Migrations == nil {
		return nil
	}
	pool, err := openPool(file, 1, 0, writerPragmas())
	if err != nil {
		return err
	}
	return errors.Join(translate(migrateUp(ctx, o, pool)), pool.Close())
}

// lockRetry is the wait before a migration that found a table in use is tried again.
const lockRetry = 3 * time.Second

// migrateUp applies what is missing. A newer schema stays as it is: an error unless the program can work with it.
func migrateUp(ctx context.Context, o Options, pool *sql.DB) error {
	err := checkSchema(ctx, o, pool)
	if !errors.Is(err, ErrSchemaOld) {
		return err
	}
	files, err := fs.Sub(o.Migrations, o.dialect().String())
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	dialect := goose.DialectSQLite3
	if o.dialect() == Postgres {
		dialect = goose.DialectPostgres
	}
	provider, err := goose.NewProvider(dialect, pool, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := recordOldest(ctx, pool); err != nil {
		return err
	}
	return applyAll(ctx, o, provider)
}

// applyAll applies one migration after the other. One that waits longer than lockTimeout for a table is undone and tried again, for
// everybody who wants the table after it waits behind it.
func applyAll(ctx context.Context, o Options, provider *goose.Provider) error {
	for {
		applied, err := provider.UpByOne(ctx)
		switch {
		case err == nil:
			o.Logger.Info("store migrated", slog.String("store", o.Service), slog.Int64("version", applied.Source.Version))
		case errors.Is(err, goose.ErrNoNextVersion):
			return nil
		case mayRunAgain(err), stateOf(err) == codeLockNotAvailable:
			o.Logger.Warn("migration waits for a table that is in use", slog.String("store", o.Service), slog.Duration("again", lockRetry))
			if err := wait(ctx, o.Clock, lockRetry); err != nil {
				return fmt.Errorf("apply migrations: %w", err)
			}
		default:
			return fmt.Errorf("apply migrations: %w", err)
		}
	}
}

type migration struct {
	version int64
	name    string // of the file
}

var migrationName = regexp.MustCompile(`^(\d{5})_[a-z0-9_]+\.sql$`)

// listMigrations reads the directory of one dialect, in order.
func listMigrations(migrations fs.FS, dialect Dialect) ([]migration, error) {
	entries, err := fs.ReadDir(migrations, dialect.String())
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var list []migration
	for _, entry := range entries {
		match := migrationName.FindStringSubmatch(entry.Name())
		if match == nil {
			return nil, fmt.Errorf("read migrations: %s is not named like 00001_what_it_does.sql", path.Join(dialect.String(), entry.Name()))
		}
		version, err := strconv.ParseInt(match[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read migrations: %w", err)
		}
		if version != int64(len(list)+1) {
			return nil, fmt.Errorf("read migrations: %s should have number %d", path.Join(dialect.String(), entry.Name()), len(list)+1)
		}
		list = append(list, migration{version: version, name: entry.Name()})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("read migrations: %s has none", dialect)
	}
	return list, nil
}

// CheckMigrations reports what is wrong with a set of migrations: directories sqlite and postgres must hold files of the same names,
// numbered 00001, 00002, … without a gap; and those after the first must leave programs of the release before at work, or say that
// they do not (see checkExpands). It is called for every service in a test.
func CheckMigrations(migrations fs.FS) error {
	embedded, err := listMigrations(migrations, SQLite)
	if err != nil {
		return err
	}
	server, err := listMigrations(migrations, Postgres)
	if err != nil {
		return err
	}
	if !slices.Equal(embedded, server) {
		return fmt.Errorf("migrations differ: sqlite has %v, postgres has %v", names(embedded), names(server))
	}
	return errors.Join(checkExpands(migrations, SQLite, embedded), checkExpands(migrations, Postgres, server))
}

func names(list []migration) []string {
	var out []string
	for _, m := range list {
		out = append(out, m.name)
	}
	return out
}

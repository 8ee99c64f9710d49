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

// migrateUp applies what is missing. It does not begin if the schema is newer than the program.
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
	applied, err := provider.Up(ctx)
	for _, result := range applied {
		o.Logger.Info("store migrated", slog.String("store", o.Service), slog.Int64("version", result.Source.Version))
	}
	if err != nil {
		return fmt.Errorf("apply migrations: %w", err)
	}
	return nil
}

// checkSchema compares the versions of schema and program: ErrSchemaOld, ErrSchemaNew, or nil. It changes nothing.
func checkSchema(ctx context.Context, o Options, pool *sql.DB) error {
	if o.Migrations == nil {
		return nil
	}
	known, err := listMigrations(o.Migrations, o.dialect())
	if err != nil {
		return err
	}
	newest := known[len(known)-1].version
	present, err := schemaVersion(ctx, o, pool)
	switch {
	case err != nil:
		return err
	case present < newest:
		return fmt.Errorf("%w (schema is at %d, program at %d)", ErrSchemaOld, present, newest)
	case present > newest:
		return fmt.Errorf("%w (schema is at %d, program at %d)", ErrSchemaNew, present, newest)
	default:
		return nil
	}
}

// schemaVersion is the newest migration applied; 0 for none.
func schemaVersion(ctx context.Context, o Options, pool *sql.DB) (int64, error) {
	exists, args := "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1)", []any{versionTable}
	if o.dialect() == Postgres {
		exists = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE tablename = $1 AND schemaname = $2)"
		args = append(args, o.Service)
	}
	var there bool
	if err := pool.QueryRowContext(ctx, exists, args...).Scan(&there); err != nil {
		return 0, fmt.Errorf("find version of schema: %w", err)
	}
	if !there {
		return 0, nil
	}
	var version sql.NullInt64
	err := pool.QueryRowContext(ctx, "SELECT max(version_id) FROM "+versionTable+" WHERE is_applied").Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("read version of schema: %w", err)
	}
	return version.Int64, nil
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
// numbered 00001, 00002, … without a gap. Every service calls it in a test.
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
	return nil
}

func names(list []migration) []string {
	var out []string
	for _, m := range list {
		out = append(out, m.name)
	}
	return out
}

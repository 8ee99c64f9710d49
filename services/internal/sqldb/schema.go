package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
)

// oldestTable has one row: the least number of migrations that a program must know to work on this schema. A migration after which
// older programs cannot go on raises it, in its own transaction: UPDATE schema_program SET oldest = 7.
const oldestTable = "schema_program"

// recordOldest makes oldestTable. At first every program will do.
func recordOldest(ctx context.Context, pool *sql.DB) error {
	for _, statement := range []string{
		"CREATE TABLE IF NOT EXISTS " + oldestTable + " (oldest BIGINT NOT NULL)",
		"INSERT INTO " + oldestTable + " (oldest) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM " + oldestTable + ")",
	} {
		if _, err := pool.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("make %s: %w", oldestTable, err)
		}
	}
	return nil
}

// checkSchema compares the versions of schema and program: ErrSchemaOld, ErrSchemaNew, or nil when the program can work on the schema.
// It changes nothing.
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
	case present == newest:
		return nil
	}
	oldest, err := oldestProgram(ctx, o, pool)
	switch {
	case err != nil:
		return err
	case oldest == 0, oldest > newest:
		return fmt.Errorf("%w (schema is at %d, program at %d)", ErrSchemaNew, present, newest)
	default:
		o.Logger.Info("store's schema is newer than this program, which can work on it", slog.String("store", o.Service),
			slog.Int64("schema", present), slog.Int64("program", newest), slog.Int64("oldest", oldest))
		return nil
	}
}

// schemaVersion is the newest migration applied; 0 for none.
func schemaVersion(ctx context.Context, o Options, pool *sql.DB) (int64, error) {
	there, err := hasTable(ctx, o, pool, versionTable)
	if err != nil || !there {
		return 0, err
	}
	var version sql.NullInt64
	err = pool.QueryRowContext(ctx, "SELECT max(version_id) FROM "+versionTable+" WHERE is_applied").Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("read version of schema: %w", err)
	}
	return version.Int64, nil
}

// oldestProgram is the least version of a program that can work on the schema; 0 if the schema does not say.
func oldestProgram(ctx context.Context, o Options, pool *sql.DB) (int64, error) {
	there, err := hasTable(ctx, o, pool, oldestTable)
	if err != nil || !there {
		return 0, err
	}
	var oldest int64
	err = pool.QueryRowContext(ctx, "SELECT oldest FROM "+oldestTable).Scan(&oldest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read oldest program of schema: %w", err)
	}
	return oldest, nil
}

func hasTable(ctx context.Context, o Options, pool *sql.DB, name string) (there bool, err error) {
	exists, args := "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1)", []any{name}
	if o.dialect() == Postgres {
		exists = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE tablename = $1 AND schemaname = $2)"
		args = append(args, o.Service)
	}
	if err := pool.QueryRowContext(ctx, exists, args...).Scan(&there); err != nil {
		return false, fmt.Errorf("find version of schema: %w", err)
	}
	return there, nil
}

package sqldb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// Snapshot writes a consistent copy of an embedded store to a new file, readable by this user only, which is on disk when it returns.
// The store may be in use, by this process or another: it is read as it is at one moment, and the copy has nothing that was deleted
// before. Its write-ahead log grows until the copy is made. fs.ErrNotExist when there is no such store.
func Snapshot(ctx context.Context, dataDir, service, target string) error {
	if err := snapshot(ctx, filepath.Join(dataDir, service+databaseSuffix), target); err != nil {
		return fmt.Errorf("copy store of %s: %w", service, translate(err))
	}
	return nil
}

func snapshot(ctx context.Context, source, target string) (err error) {
	if _, err := os.Stat(source); err != nil {
		return err
	}
	// SQLite takes an empty file for a new one, and this one has the right mode.
	file, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(target))
		}
	}()
	pool, err := openPool(source, 1, 0, visitorPragmas())
	if err != nil {
		return err
	}
	_, err = pool.ExecContext(ctx, "VACUUM INTO $1", target)
	if err = errors.Join(err, pool.Close()); err != nil {
		return err
	}
	return file.Sync()
}

// visitorPragmas are those of a connection to a store that may be another process's: it makes no file.
func visitorPragmas() url.Values {
	return url.Values{
		"_dqs":    {"0"},
		"mode":    {"rw"},
		"_pragma": {"busy_timeout(" + busyTimeout + ")", "temp_store(MEMORY)"},
	}
}

// VerifyFile reports whether a file is a sound store on whose schema this program can work, or which it can bring to its own. ErrSchemaNew, or what
// SQLite finds wrong in it. Nobody may use the file meanwhile.
func VerifyFile(ctx context.Context, o Options, file string) (err error) {
	if err := o.complete(); err != nil {
		return err
	}
	pool, err := openPool(file, 1, 0, visitorPragmas())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	var verdict string
	if err := pool.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("check store of %s: %w", o.Service, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("check store of %s: %s", o.Service, verdict)
	}
	if err := checkSchema(ctx, o, pool); err != nil && !errors.Is(err, ErrSchemaOld) {
		return fmt.Errorf("check store of %s: %w", o.Service, err)
	}
	return nil
}

// LockFile keeps every process from opening an embedded store until the lock is released: for whoever replaces its files.
func LockFile(dataDir, service string) (release func() error, err error) {
	return lockFile(filepath.Join(dataDir, service+".lock"))
}

// databaseSuffix ends the names of database files. SQLite puts the suffixes of its own files behind it.
const databaseSuffix = ".db"

// Files are the names of the files that an embedded store may have in its data folder, the database first.
func Files(service string) []string {
	name := service + databaseSuffix
	return []string{name, name + "-wal", name + "-shm"}
}

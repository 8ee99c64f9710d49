package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"modernc.org/sqlite"
)

const (
	busyTimeout = "5000" // milliseconds; only a foreign process (a backup, a shell) makes anybody wait
	// Memory is bounded by the page caches: the writer's and, for each reader, its own. The hash table of a cache doubles when there
	// are as many pages as it has slots: 15 MiB stay under 4,096 pages.
	writerCacheKiB = 15 << 10
	readerCacheKiB = 2 << 10
	// logBytes is what the write-ahead log's file is cut to after it has been longer: a little more than checkpointPages.
	logBytes = 160 << 20
)

// embedded is a SQLite store: one writer, a pool of readers.
type embedded struct {
	readers *sql.DB
	writers *sql.DB
	writer  *writer
	unlock  func() error
}

func openSQLite(ctx context.Context, o Options, m *metrics) (_ engine, err error) {
	path, unlock, err := claimFile(o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unlock())
		}
	}()
	if err := errors.Join(errPageCache, registerGatheringLog()); err != nil {
		return nil, err
	}
	if err := migrateSQLite(ctx, o, path); err != nil {
		return nil, err
	}

	writers, err := openPool(path, 1, 0, writerPragmas())
	if err != nil {
		return nil, err
	}
	readers, err := openPool(path, readerCount(), statementTimeout, readerPragmas())
	if err != nil {
		return nil, errors.Join(err, writers.Close())
	}
	e := &embedded{readers: readers, writers: writers, unlock: unlock}
	if e.writer, err = newWriter(ctx, o, m, e); err != nil {
		return nil, errors.Join(err, readers.Close(), writers.Close())
	}
	go e.writer.run()
	return e, nil
}

// claimFile makes directory and file, readable by this user only, and locks them for this process.
func claimFile(o Options) (path string, unlock func() error, err error) {
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return "", nil, fmt.Errorf("find data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make data directory: %w", err)
	}
	unlock, err = lockFile(filepath.Join(dir, o.Service+".lock"))
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, o.Service+databaseSuffix)
	// SQLite gives its other files the mode of this one.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("make database file: %w", err), unlock())
	}
	return path, unlock, nil
}

var errNoMemory = errors.New("prepare sqlite: out of memory")

func writerPragmas() url.Values {
	return url.Values{
		"_dqs": {"0"},
		"vfs":  {gatheringLog},
		"_pragma": {
			"busy_timeout(" + busyTimeout + ")",
			"journal_mode(WAL)",
			"synchronous(FULL)",
			"foreign_keys(1)",
			"temp_store(MEMORY)",
			"wal_autocheckpoint(0)", // see checkpointer
			"journal_size_limit(" + strconv.Itoa(logBytes) + ")",
			"cache_size(-" + strconv.Itoa(writerCacheKiB) + ")",
		},
	}
}

func readerPragmas() url.Values {
	return url.Values{
		"_dqs": {"0"},
		"_pragma": {
			"busy_timeout(" + busyTimeout + ")",
			"temp_store(MEMORY)",
			"cache_size(-" + strconv.Itoa(readerCacheKiB) + ")",
		},
		"_query_only": {"1"},
	}
}

// readerCount is how many connections read at once: enough to use all processors while some wait for the disk.
func readerCount() int { return min(max(2*runtime.GOMAXPROCS(0), 4), 16) }

// openPool makes a pool whose connections stay open, for their statements' sake.
func openPool(path string, size int, limit time.Duration, pragmas url.Values) (*sql.DB, error) {
	name := (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: pragmas.Encode()}).String()
	base, err := sqlite.NewConnector(name)
	if err != nil {
		return nil, fmt.Errorf("make connector: %w", err)
	}
	pool := sql.OpenDB(&sqliteConnector{Connector: base, limit: limit})
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	return pool, nil
}

func newWriter(ctx context.Context, o Options, m *metrics, e *embedded) (*writer, error) {
	conn, err := e.writers.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect writer: %w", err)
	}
	w := &writer{
		ctx:     context.WithoutCancel(ctx),
		conn:    conn,
		clock:   o.Clock,
		logger:  o.Logger.With("store", o.Service),
		metrics: m,
		store:   e,
		queue:   make(chan *call, maxWaiting),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		failure: make(chan struct{}),
	}
	err = conn.Raw(func(raw any) error {
		w.raw = raw.(*sqliteConn)
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect writer: %w", err), conn.Close())
	}
	return w, nil
}

func (e *embedded) reader() Reader { return poolReader{pool: e.readers} }

func (e *embedded) write(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	return e.writer.write(ctx, fn)
}

func (e *embedded) execOnce(ctx context.Context, query string, args []any) (sql.Result, error) {
	var result sql.Result
	err := e.writer.write(ctx, func(ctx context.Context, tx Tx) error {
		var err error
		result, err = tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

func (e *embedded) queryOnce(ctx context.Context, query string, args, dest []any) error {
	none := false
	err := e.writer.write(ctx, func(ctx context.Context, tx Tx) error {
		err := tx.QueryRowContext(ctx, query, args...).Scan(dest...)
		if none = IsNoRows(err); none {
			return nil // the statement stands, as it does on PostgreSQL
		}
		return err
	})
	if err == nil && none {
		return sql.ErrNoRows
	}
	return err
}

func (e *embedded) ping(ctx context.Context) error {
	if cause := e.writer.cause.Load(); cause != nil {
		return unavailable(*cause)
	}
	return translate(e.readers.PingContext(ctx))
}

func (e *embedded) failed() <-chan struct{} { return e.writer.failure }

func (e *embedded) waiting() int { return len(e.writer.queue) }

func (e *embedded) undone() uint64 { return e.writer.undone }

func (e *embedded) close() error {
	e.writer.close()
	err := e.readers.Close()
	if e.writer.cause.Load() == nil {
		// The last connection to close copies the log into the database. After a disk failure it must not touch either: they are
		// for the next process to recover from, so the connection is left to the end of this one. It is closed below
		// database/sql, which would wait for rows that somebody forgot.
		err = errors.Join(err, e.writer.raw.Close())
	}
	err = errors.Join(err, e.writers.Close())
	return errors.Join(err, e.unlock())
}

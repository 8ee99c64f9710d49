// Package sqldb is one service's store on either engine: embedded SQLite with group commit, or PostgreSQL. The same SQL runs on
// both; what differs between the engines in connections, transactions, migrations and errors ends here.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// Dialect is the engine under a store, for the few statements in which the engines differ.
type Dialect int

// The engines.
const (
	SQLite Dialect = iota
	Postgres
)

// String is the name of the engine and of its directory of migrations.
func (d Dialect) String() string {
	if d == Postgres {
		return "postgres"
	}
	return "sqlite"
}

// Options say which store to open.
type Options struct {
	// Service names the store: the file <DataDir>/<Service>.db, or the schema <Service> of a PostgreSQL database. It is a
	// lower-case letter and then at most 39 of lower-case letters, digits and underscores.
	Service string
	// DataDir is the directory of the SQLite files. It is made, with mode 0700, when it is not there. PostgreSQL ignores it.
	DataDir string
	// DatabaseURL is a PostgreSQL URL (or key=value list) as libpq knows it; empty means SQLite. The parameter pool_max_conns
	// sets the number of connections of this store, 12 when it is absent. Of several hosts one is taken that accepts writes, whatever
	// target_session_attrs says: all reads are from there too.
	DatabaseURL string
	// Migrations has the directories sqlite and postgres with goose files; see CheckMigrations. Nil means that the store has none.
	Migrations fs.FS
	// Clock measures writes and waits between attempts; nil is the clock of the machine.
	Clock clock.Clock
	// Logger gets what no caller is told: a failed store, a checkpoint that did not finish. Nil discards.
	Logger *slog.Logger
	// Metrics gets the prosa_store_… metrics, labelled with Service; stores of one process share them. Nil keeps them to itself.
	Metrics prometheus.Registerer
	// MigrateOnOpen brings a PostgreSQL schema up to date while opening. Without it Open fails with ErrSchemaOld when that would
	// be needed. A SQLite file has one owner, and is always brought up to date.
	MigrateOnOpen bool
}

// Reader runs queries. Rows must be closed; while they are open they hold a connection. On SQLite a reader cannot write.
type Reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Tx is an open transaction. It ends with the function that it was given to and must not be used by several goroutines.
type Tx interface {
	Reader
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// DB is an open store. It is safe for concurrent use.
type DB struct {
	dialect Dialect
	engine  engine
	metrics *metrics
	clock   clock.Clock
	closing sync.Once
	closed  error
	kept    sync.Map
}

// engine is what SQLite and PostgreSQL do differently.
type engine interface {
	reader() Reader
	write(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error
	execOnce(ctx context.Context, query string, args []any) (sql.Result, error)
	queryOnce(ctx context.Context, query string, args []any, dest []any) error
	ping(ctx context.Context) error
	failed() <-chan struct{}
	waiting() int
	undone() uint64
	scrub(ctx context.Context, db *DB) error
	close() error
}

// Open opens a store and, where Options say so, brings its schema up to date. It fails with ErrLocked when another process has the
// SQLite file, with ErrSchemaOld or ErrSchemaNew when schema and program do not fit, and with ErrUnavailable when the server
// cannot be reached.
func Open(ctx context.Context, o Options) (*DB, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics, o.Service)
	if err != nil {
		return nil, err
	}
	db := &DB{dialect: o.dialect(), metrics: m, clock: o.Clock}
	if db.dialect == Postgres {
		db.engine, err = openPostgres(ctx, o, m)
	} else {
		db.engine, err = openSQLite(ctx, o, m)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s store of %s: %w", db.dialect, o.Service, err)
	}
	return db, nil
}

var serviceName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

func (o *Options) complete() error {
	if !serviceName.MatchString(o.Service) {
		return fmt.Errorf("open store: %q is not the name of a store", o.Service)
	}
	if o.DatabaseURL == "" && o.DataDir == "" {
		return errors.New("open store: neither a data directory nor a database URL is given")
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (o *Options) dialect() Dialect {
	if o.DatabaseURL != "" {
		return Postgres
	}
	return SQLite
}

// Close ends the store: writes that are already queued are done, later ones fail with ErrClosed. It may be called twice.
func (db *DB) Close() error {
	db.closing.Do(func() { db.closed = db.engine.close() })
	return db.closed
}

// Ping reports whether the store can be used now.
func (db *DB) Ping(ctx context.Context) error { return db.engine.ping(ctx) }

// Dialect is the engine under this store.
func (db *DB) Dialect() Dialect { return db.dialect }

// Reader runs queries outside any transaction: each sees what was committed before it began, by any process, because it is of the
// server that takes the writes. A statement that takes longer than five seconds is broken off with ErrUnavailable. One that
// PostgreSQL asks to be run again is, before its first row; if it goes on asking, that is ErrUnavailable too.
func (db *DB) Reader() Reader { return db.engine.reader() }

// Write runs fn in a transaction and returns after it is on disk. An error of fn undoes all that fn did and is returned as it is;
// a panic does too, and comes back as *PanicError.
//
// On SQLite the one writer runs many callers' functions in one transaction, each in a savepoint of its own, and wakes all after the one
// fsync. On PostgreSQL it is a transaction of its own, run again when the server asks for it (serialization failure, deadlock) or
// the connection is lost before the commit; so fn may run more than once and only assigns results, never appends to what lives
// outside of it.
//
// fn must wait for nothing but the database, close its rows, and not call Write. Its context has the values of the caller's, and
// on SQLite never ends: a caller that leaves must not undo its neighbours. A caller whose context ends while its function is
// queued gets the context's error and fn does not run; once it runs, Write returns the true result.
//
// ErrUnavailable says that nothing was stored, ErrUnknownOutcome that it cannot be told.
func (db *DB) Write(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	if insideWrite(ctx, db.engine) {
		return errNested
	}
	start := db.clock.Now()
	err := db.engine.write(ctx, fn)
	db.metrics.wrote(db.clock.Now().Sub(start))
	return err
}

// Exec1 runs one statement by itself: on PostgreSQL in one round trip, without a transaction around it; on SQLite as Write does.
func (db *DB) Exec1(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if insideWrite(ctx, db.engine) {
		return nil, errNested
	}
	start := db.clock.Now()
	result, err := db.engine.execOnce(ctx, query, args)
	db.metrics.wrote(db.clock.Now().Sub(start))
	return result, err
}

// Query1 runs one writing statement that returns a row (INSERT … RETURNING) as Exec1 does, and scans the row into dest.
// It returns sql.ErrNoRows, and the statement stands, when there was no row.
func (db *DB) Query1(ctx context.Context, query string, args []any, dest ...any) error {
	if insideWrite(ctx, db.engine) {
		return errNested
	}
	start := db.clock.Now()
	err := db.engine.queryOnce(ctx, query, args, dest)
	db.metrics.wrote(db.clock.Now().Sub(start))
	return err
}

// Undone counts how often something that a function of Write did was taken back, on SQLite; only such a function may ask, and only
// the one writer is ever asked. Who keeps in memory what functions have written, as only functions of Write may, knows by it when
// to forget all of it.
func (db *DB) Undone() uint64 { return db.engine.undone() }

// Keep returns what is kept with this open store under a key, which has a type of the caller's own, and makes it at the first call.
func (db *DB) Keep(key any, create func() any) any {
	if kept, ok := db.kept.Load(key); ok {
		return kept
	}
	kept, _ := db.kept.LoadOrStore(key, create())
	return kept
}

// Failed is closed when the disk under a SQLite store has refused to make data durable. What is on disk is then unknown to this
// process: every later Write is ErrUnavailable, and the process should exit and recover by opening the store anew. An fsync is
// never tried again, for the kernel may report success for pages that it has dropped. PostgreSQL looks after itself; its
// channel is never closed.
func (db *DB) Failed() <-chan struct{} { return db.engine.failed() }

// Stats are exact counts since Open.
type Stats struct {
	// Commits is the number of transactions committed: one fsync each on SQLite.
	Commits int64
	// Writes is the number of calls of Write, Exec1 and Query1 that are on disk.
	Writes int64
	// Waiting is the number of calls queued for the writer at this moment; always 0 on PostgreSQL.
	Waiting int
}

// Stats returns the counts.
func (db *DB) Stats() Stats {
	return Stats{Commits: db.metrics.commitCount.Load(), Writes: db.metrics.writeCount.Load(), Waiting: db.engine.waiting()}
}

type insideKey struct{}

// within marks the context of a function that runs inside a write of e.
func within(ctx context.Context, e engine) context.Context {
	return context.WithValue(ctx, insideKey{}, e)
}

func insideWrite(ctx context.Context, e engine) bool {
	return ctx.Value(insideKey{}) == e
}

// poolReader hides what else a pool of connections can do.
type poolReader struct{ pool *sql.DB }

func (r poolReader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := r.pool.QueryContext(ctx, query, args...)
	return rows, translate(err)
}

func (r poolReader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return r.pool.QueryRowContext(ctx, query, args...)
}

package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	defaultPoolSize      = 12
	migrationConnections = 4
	connectTimeout       = 5 * time.Second
	idleTimeout          = 5 * time.Minute // of a connection in the pool
	connLifetime         = time.Hour       // so that the pool finds back to servers that were away
	// controlTimeout bounds COMMIT and ROLLBACK, which the caller's context must not break off.
	controlTimeout = 10 * time.Second

	maxAttempts  = 6
	firstBackoff = 5 * time.Millisecond // doubles with each attempt; the wait is between half of it and all

	lockPoll = 100 * time.Millisecond
	// lockTimeout is how long a migration waits for a table, and everybody else behind it.
	lockTimeout = 500 * time.Millisecond
)

// server is a store in a PostgreSQL schema.
type server struct {
	pool    *sql.DB
	clock   clock.Clock
	metrics *metrics
	never   chan struct{}
	// config is that of the pool's connections; sessions are beside it. closed is set before they are ended.
	config   *pgx.ConnConfig
	sessions sync.Map
	closed   atomic.Bool
	// jitter is between 0 and 1. It keeps transactions that met each other from meeting again.
	jitter func() float64
}

func openPostgres(ctx context.Context, o Options, m *metrics) (engine, error) {
	if o.MigrateOnOpen {
		if err := migratePostgres(ctx, o); err != nil {
			return nil, err
		}
	}
	pool, config, err := connectPostgres(o, map[string]string{
		"statement_timeout":                   milliseconds(statementTimeout),
		"idle_in_transaction_session_timeout": milliseconds(2 * controlTimeout),
	})
	if err != nil {
		return nil, err
	}
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(translate(err), pool.Close())
	}
	if err := checkSchema(ctx, o, pool); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return &server{pool: pool, clock: o.Clock, metrics: m, never: make(chan struct{}), config: config, jitter: rand.Float64}, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// connectPostgres makes a pool; it does not connect yet.
func connectPostgres(o Options, parameters map[string]string) (*sql.DB, *pgx.ConnConfig, error) {
	// pgxpool only reads the URL: it knows pool_max_conns, and pgx by itself would send that to the server.
	config, err := pgxpool.ParseConfig(o.DatabaseURL)
	if err != nil {
		return nil, nil, fmt.Errorf("read database URL: %w", err) // pgx leaves the password out
	}
	size := defaultPoolSize
	if explicit, err := poolSize(o.DatabaseURL); err != nil {
		return nil, nil, err
	} else if explicit > 0 {
		size = explicit
	}
	conn := config.ConnConfig
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = connectTimeout
	}
	if conn.ValidateConnect != nil || severalHosts(conn) {
		// A standby has not read yet what the caller has just written.
		conn.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	for name, value := range parameters {
		conn.RuntimeParams[name] = value
	}
	conn.RuntimeParams["application_name"] = "prosa-" + o.Service
	// public is where extensions live.
	conn.RuntimeParams["search_path"] = quoteName(o.Service) + ", public"

	pool := sql.OpenDB(postgresConnector{stdlib.GetConnector(*conn)})
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	pool.SetConnMaxIdleTime(idleTimeout)
	pool.SetConnMaxLifetime(connLifetime)
	return pool, conn, nil
}

// severalHosts reports whether a URL names more than one server. The driver keeps ways to the same one, with and without TLS, in the same
// list.
func severalHosts(c *pgx.ConnConfig) bool {
	return slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != c.Host || f.Port != c.Port })
}

// poolSize is the parameter pool_max_conns of a URL, or 0. pgxpool fills in a default of its own, so its answer cannot be used.
func poolSize(databaseURL string) (int, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return 0, fmt.Errorf("read database URL: %w", err)
	}
	text, ok := config.RuntimeParams["pool_max_conns"]
	if !ok {
		return 0, nil
	}
	size, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("read database URL: pool_max_conns is not a number: %w", err)
	}
	return size, nil
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

// migratePostgres makes the schema and brings it up to date, one process at a time.
func migratePostgres(ctx context.Context, o Options) error {
	if o.Migrations == nil {
		return nil
	}
	// A migration may take longer than a statement.
	pool, _, err := connectPostgres(o, map[string]string{"statement_timeout": "0", "lock_timeout": milliseconds(lockTimeout)})
	if err != nil {
		return err
	}
	// One connection holds the lock while others migrate, however few the store itself may have.
	pool.SetMaxOpenConns(migrationConnections)
	return errors.Join(translate(migrateLocked(ctx, o, pool)), pool.Close())
}

func migrateLocked(ctx context.Context, o Options, pool *sql.DB) (err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// The lock belongs to the session: to close the connection gives it back, whatever happened.
	defer func() {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // takes it out of the pool, and says so
	}()
	if err := lockSchema(ctx, o, conn); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+quoteName(o.Service)); err != nil {
		return fmt.Errorf("create schema: %w", err)
	}
	return migrateUp(ctx, o, pool)
}

// lockSchema takes the advisory lock of a schema. It asks again and again rather than waiting in the server: a waiting statement
// would hold up CREATE INDEX CONCURRENTLY in the process that has the lock.
func lockSchema(ctx context.Context, o Options, conn *sql.Conn) error {
	h := fnv.New64a()
	_, _ = h.Write([]byte("prosa/migrate/" + o.Service)) // never fails
	key := int64(h.Sum64())
	for {
		var locked bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", key).Scan(&locked); err != nil {
			return fmt.Errorf("lock schema: %w", err)
		}
		if locked {
			return nil
		}
		if err := wait(ctx, o.Clock, lockPoll); err != nil {
			return fmt.Errorf("lock schema: %w", err)
		}
	}
}

func wait(ctx context.Context, c clock.Clock, d time.Duration) error {
	clock.Wait(ctx, c, d, nil)
	return ctx.Err()
}

func (s *server) reader() Reader { return serverReader{s} }

// write tries fn until it is committed or has an error of its own.
func (s *server) write(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	return s.again(ctx, func() (again bool, err error) { return s.attempt(ctx, fn) })
}

// again calls once until it needs no further attempt, or there were enough. What it was refused last is then ErrUnavailable.
func (s *server) again(ctx context.Context, once func() (again bool, err error)) error {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		again, err := once()
		if err == nil || !again {
			return err
		}
		if attempt == maxAttempts {
			if errors.Is(err, ErrUnavailable) {
				return err
			}
			return unavailable(err)
		}
		s.metrics.retries.Inc()
		if err := wait(ctx, s.clock, backoff/2+time.Duration(s.jitter()*float64(backoff/2))); err != nil {
			return err
		}
		backoff *= 2
	}
}

// attempt runs fn once in a transaction. Again says that nothing was stored and that it is worth another try.
func (s *server) attempt(ctx context.Context, fn func(ctx context.Context, tx Tx) error) (again bool, err error) {
	conn, err := s.pool.Conn(ctx)
	if err != nil {
		return false, translate(err)
	}
	// Closing gives the connection back; one that is not between two transactions is thrown away there.
	defer func() { _ = conn.Close() }()

	if _, err := control(ctx, conn, "BEGIN"); err != nil {
		return wasLost(err) || errors.Is(err, driver.ErrBadConn), translate(err)
	}
	tx := &serverTx{conn: conn}
	err = callFunction(within(ctx, s), tx, fn)
	if err != nil {
		// An error here is of no use: the server undoes what is not committed when the connection goes.
		_, _ = s.finish(ctx, conn, "ROLLBACK")
		return mayRunAgain(err) || wasLost(err) || errors.Is(err, driver.ErrBadConn), err
	}
	done, err := s.finish(ctx, conn, "COMMIT")
	switch {
	case mayRunAgain(err):
		return true, err
	case err != nil:
		return false, lostInFlight(translate(err))
	case done != "COMMIT":
		return false, errAborted // the server answers ROLLBACK if a statement failed before
	}
	s.metrics.committed(1)
	return false, nil
}

// finish ends a transaction whatever becomes of the caller.
func (s *server) finish(ctx context.Context, conn *sql.Conn, command string) (done string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
	defer cancel()
	return control(ctx, conn, command)
}

func control(ctx context.Context, conn *sql.Conn, command string) (done string, err error) {
	err = conn.Raw(func(raw any) error {
		var err error
		done, err = raw.(*postgresConn).control(ctx, command)
		return err
	})
	return done, err
}

// callFunction runs fn and turns a panic into an error.
func callFunction(ctx context.Context, tx *serverTx, fn func(ctx context.Context, tx Tx) error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
		if tx.end() && err == nil {
			err = errRowsOpen
		}
	}()
	return fn(ctx, tx)
}

func (s *server) execOnce(ctx context.Context, query string, args []any) (sql.Result, error) {
	var result sql.Result
	err := s.again(ctx, func() (again bool, err error) {
		result, err = s.pool.ExecContext(ctx, query, args...)
		return s.statementDone(err)
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

func (s *server) queryOnce(ctx context.Context, query string, args, dest []any) error {
	return s.again(ctx, func() (again bool, err error) {
		err = s.pool.QueryRowContext(ctx, query, args...).Scan(dest...)
		if IsNoRows(err) {
			s.metrics.committed(1)
			return false, err
		}
		return s.statementDone(err)
	})
}

// statementDone judges the outcome of a statement by itself, whose end is its commit.
func (s *server) statementDone(err error) (again bool, _ error) {
	if err == nil {
		s.metrics.committed(1)
		return false, nil
	}
	return mayRunAgain(err), lostInFlight(translate(err))
}

func (s *server) ping(ctx context.Context) error { return translate(s.pool.PingContext(ctx)) }

func (s *server) failed() <-chan struct{} { return s.never }

func (s *server) waiting() int { return 0 }

// undone has no meaning where many write at once.
func (s *server) undone() uint64 { return 0 }

func (s *server) close() error {
	s.endSessions()
	return s.pool.Close()
}

// serverTx is what a function sees of its transaction.
type serverTx struct {
	conn  *sql.Conn
	rows  []*sql.Rows // that the function may have forgotten
	ended bool
}

// end closes forgotten rows and reports whether there were any.
func (t *serverTx) end() (forgotten bool) {
	t.ended = true
	for _, rows := range t.rows {
		if _, err := rows.Columns(); err == nil { // an error says that they are closed
			forgotten = true
			_ = rows.Close()
		}
	}
	return forgotten
}

func (t *serverTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if t.ended {
		return nil, sql.ErrTxDone
	}
	return t.conn.ExecContext(ctx, query, args...)
}

func (t *serverTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if t.ended {
		return nil, sql.ErrTxDone
	}
	rows, err := t.conn.QueryContext(ctx, query, args...)
	if err == nil {
		t.rows = append(t.rows, rows)
	}
	return rows, err
}

// QueryRowContext needs no look at ended: the connection is closed then, and the row says so.
func (t *serverTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.conn.QueryRowContext(ctx, query, args...)
}

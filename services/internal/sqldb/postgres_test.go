package sqldb_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func openPostgres(t *testing.T) *sqldb.DB {
	t.Helper()
	return testkit.Open(t, testkit.Options(t, sqldb.Postgres, migrations, service))
}

func raise(state string) string {
	return "DO $$ BEGIN RAISE EXCEPTION 'made by the test' USING ERRCODE = '" + state + "'; END $$"
}

func TestTransactionRunsAgain(t *testing.T) {
	db := openPostgres(t)
	for name, obstacle := range map[string]string{
		"serialization failure": raise("40001"),
		"deadlock":              raise("40P01"),
		"connection lost":       "SELECT pg_terminate_backend(pg_backend_pid())",
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
				attempts++
				if _, err := tx.ExecContext(ctx, insert, name); err != nil {
					return err
				}
				if attempts == 3 {
					return nil
				}
				_, err := tx.ExecContext(ctx, obstacle)
				return err
			}))
			require.Equal(t, 3, attempts)
			var n int
			require.NoError(t, db.Reader().QueryRowContext(ctx, count+" WHERE id = $1", name).Scan(&n))
			require.Equal(t, 1, n)
		})
	}
}

func TestTransactionRunsAgainNotForEver(t *testing.T) {
	db := openPostgres(t)
	attempts := 0
	err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		attempts++
		_, err := tx.ExecContext(ctx, raise("40001"))
		return err
	})
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	require.Equal(t, sqldb.MaxAttempts, attempts)

	_, err = db.Exec1(ctx, raise("40001"))
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
}

func TestWaitBetweenAttemptsEndsWithTheCaller(t *testing.T) {
	db := openPostgres(t)
	leaving, leave := context.WithCancel(ctx)
	attempts := 0
	err := db.Write(leaving, func(ctx context.Context, tx sqldb.Tx) error {
		attempts++
		_, err := tx.ExecContext(ctx, raise("40001"))
		leave()
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, attempts)
}

func TestIgnoredErrorIsNotACommit(t *testing.T) {
	db := openPostgres(t)
	err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if _, err := tx.ExecContext(ctx, insert, "a"); err != nil {
			return err
		}
		_, _ = tx.ExecContext(ctx, insert, "a")
		return nil
	})
	require.ErrorContains(t, err, "ignored an error")
	require.Zero(t, rowCount(t, db.Reader()))
	require.Zero(t, db.Stats().Commits)
}

func TestSlowStatementIsUnavailable(t *testing.T) {
	db := openPostgres(t)
	err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if _, err := tx.ExecContext(ctx, "SET LOCAL statement_timeout = 10"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "SELECT pg_sleep(10)")
		return err
	})
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	var timeout string
	require.NoError(t, db.Reader().QueryRowContext(ctx, "SHOW statement_timeout").Scan(&timeout))
	require.Equal(t, "5s", timeout)
}

func TestSessionIsNamed(t *testing.T) {
	db := openPostgres(t)
	var path, name string
	require.NoError(t, db.Reader().QueryRowContext(ctx, "SELECT current_setting('search_path'), current_setting('application_name')").Scan(&path, &name))
	require.Equal(t, `"sqldbtest", public`, path)
	require.Equal(t, "prosa-sqldbtest", name)
}

// Messages of the server may quote what was sent to it.
func TestRefusedValueIsNotInTheError(t *testing.T) {
	db := openPostgres(t)
	var n int64
	err := db.Reader().QueryRowContext(ctx, "SELECT $1::text::bigint", "Maria da Silva").Scan(&n)
	require.ErrorContains(t, err, "22P02")
	require.NotContains(t, err.Error(), "Maria")
	_, err = db.Exec1(ctx, insert, "zero\x00byte")
	require.ErrorContains(t, err, "22021")
}

func TestServerThatIsNotThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	options := sqldb.Options{Service: service, DatabaseURL: "postgres://prosa:s3cr3t@" + address + "/postgres"}
	_, err = sqldb.Open(ctx, options)
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	require.NotContains(t, err.Error(), "s3cr3t")
	options.Migrations = migrations
	require.ErrorIs(t, sqldb.Migrate(ctx, options), sqldb.ErrUnavailable)

	options.DatabaseURL = "postgres://prosa:s3cr3t@" + address + "/postgres?pool_max_conns=many"
	_, err = sqldb.Open(ctx, options)
	require.ErrorContains(t, err, "pool_max_conns")
	require.NotContains(t, err.Error(), "s3cr3t")
}

func TestPoolSizeIsInTheURL(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, migrations, service)
	options.DatabaseURL += "&pool_max_conns=1"
	db := testkit.Open(t, options)
	rows, err := db.Reader().QueryContext(ctx, "SELECT 1")
	require.NoError(t, err)
	defer rows.Close()
	leaving, leave := context.WithCancel(ctx)
	waited := make(chan error, 1)
	go func() { waited <- db.Write(leaving, insertFn("a")) }()
	leave()
	require.ErrorIs(t, <-waited, context.Canceled)
	require.True(t, rows.Next())
	require.False(t, rows.Next(), "the connection is free after the last row")
	require.NoError(t, rows.Err())
	require.NoError(t, db.Write(ctx, insertFn("a")))
}

func TestAnswerLostOnTheWire(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, migrations, service)
	direct := testkit.Open(t, options)
	wire := newProxy(t, options.DatabaseURL)
	options.DatabaseURL = wire.url
	db := testkit.Open(t, options)
	require.NoError(t, db.Write(ctx, insertFn("before")))

	wire.swallowAnswerTo("COMMIT")
	require.ErrorIs(t, db.Write(ctx, insertFn("committed")), sqldb.ErrUnknownOutcome)
	require.Eventually(t, func() bool { return rowCount(t, direct.Reader()) == 2 }, patience, tick, "it was stored")

	wire.swallowAnswerTo("INSERT")
	_, err := db.Exec1(ctx, insert, "by itself")
	require.ErrorIs(t, err, sqldb.ErrUnknownOutcome)

	// The driver says of a statement without arguments that it was not sent, which must not make it run twice.
	wire.swallowAnswerTo("UPDATE")
	_, err = db.Exec1(ctx, "UPDATE items SET count = count + 1 WHERE id = 'committed'")
	require.ErrorIs(t, err, sqldb.ErrUnknownOutcome)
	counted := func() (n int) {
		require.NoError(t, direct.Reader().QueryRowContext(ctx, "SELECT count FROM items WHERE id = 'committed'").Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return counted() == 1 }, patience, tick)
	wire.swallowAnswerTo("UPDATE")
	var n int
	err = db.Query1(ctx, "UPDATE items SET count = count + 1 WHERE id = 'committed' RETURNING 1", nil, &n)
	require.ErrorIs(t, err, sqldb.ErrUnknownOutcome)
	require.LessOrEqual(t, counted(), 2)

	wire.swallowAnswerTo("INSERT")
	attempts := 0
	require.NoError(t, db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		attempts++
		return insertFn("again")(ctx, tx)
	}), "before the commit nothing is unknown")
	require.Equal(t, 2, attempts)

	require.NoError(t, wire.close())
	require.ErrorIs(t, db.Write(ctx, insertFn("down")), sqldb.ErrUnavailable)
	_, err = db.Exec1(ctx, insert, "down")
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	require.ErrorIs(t, db.Ping(ctx), sqldb.ErrUnavailable)
	require.ErrorIs(t, queryError(db.Reader(), count), sqldb.ErrUnavailable)
}

// proxy stands between a store and its server and can lose an answer.
type proxy struct {
	url      string
	target   string
	listener net.Listener
	trigger  atomic.Pointer[[]byte]
	running  sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

func newProxy(t *testing.T, databaseURL string) *proxy {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{target: u.Host, listener: listener}
	u.Host = listener.Addr().String()
	p.url = u.String()
	p.running.Go(p.accept)
	t.Cleanup(func() { _ = p.close() })
	return p
}

// swallowAnswerTo lets the next message with this text through to the server, and then breaks its connection.
func (p *proxy) swallowAnswerTo(text string) {
	b := []byte(text)
	p.trigger.Store(&b)
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		var lost atomic.Bool
		p.running.Go(func() { p.forward(client, server, &lost) })
		p.running.Go(func() {
			answers := make([]byte, 64<<10)
			for {
				n, err := server.Read(answers)
				if lost.Load() || err != nil {
					_ = client.Close()
				}
				if err != nil {
					return
				}
				_, _ = client.Write(answers[:n])
			}
		})
	}
}

func (p *proxy) forward(client, server net.Conn, lost *atomic.Bool) {
	questions := make([]byte, 64<<10)
	for {
		n, err := client.Read(questions)
		if err != nil {
			if !lost.Load() {
				_ = server.Close()
			}
			return
		}
		trigger := p.trigger.Load()
		if trigger != nil && bytes.Contains(questions[:n], *trigger) && p.trigger.CompareAndSwap(trigger, nil) {
			lost.Store(true)
		}
		if _, err := server.Write(questions[:n]); err != nil {
			_ = client.Close()
			return
		}
	}
}

func (p *proxy) close() error {
	err := p.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	p.mu.Lock()
	for _, c := range p.conns {
		if closing := c.Close(); closing != nil && !errors.Is(closing, net.ErrClosed) && !errors.Is(closing, io.EOF) {
			err = errors.Join(err, closing)
		}
	}
	p.mu.Unlock()
	p.running.Wait()
	return err
}

package sqldb_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func openSession(t *testing.T, db *sqldb.DB) *sqldb.Session {
	t.Helper()
	session, err := db.OpenSession(ctx)
	require.NoError(t, err)
	t.Cleanup(session.Close)
	return session
}

func TestEmbeddedStoreHasNoSessions(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, migrations, service))
	_, err := db.OpenSession(ctx)
	require.ErrorIs(t, err, sqldb.ErrNoSession)
}

func TestSessionHears(t *testing.T) {
	db := openPostgres(t)
	session := openSession(t, db)
	require.NoError(t, session.Listen(ctx, `Some "channel"/1`))
	_, err := db.Exec1(ctx, "SELECT pg_notify($1, $2)", `Some "channel"/1`, "a word")
	require.NoError(t, err)
	payload, err := session.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "a word", payload)

	// Who waited long enough may go on to use it.
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, err = session.Wait(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var path, name string
	const settings = "SELECT current_setting('search_path'), current_setting('application_name')"
	require.NoError(t, session.Query(ctx, settings, nil, func(row func(...any) error) error { return row(&path, &name) }))
	require.Equal(t, `"sqldbtest", public`, path)
	require.Equal(t, "prosa-sqldbtest-session", name)
	_, err = db.Exec1(ctx, "SELECT pg_notify($1, $2)", `Some "channel"/1`, "another")
	require.NoError(t, err)
	payload, err = session.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, "another", payload)
	require.Error(t, session.Exec(ctx, "SELECT nonsense"))
	require.NoError(t, session.Exec(ctx, "SELECT 1"))
}

func TestSessionEnds(t *testing.T) {
	for name, end := range map[string]func(db *sqldb.DB, session *sqldb.Session) error{
		"by Close":       func(_ *sqldb.DB, session *sqldb.Session) error { session.Close(); session.Close(); return nil },
		"with the store": func(db *sqldb.DB, _ *sqldb.Session) error { return db.Close() },
		"because it was cut": func(db *sqldb.DB, _ *sqldb.Session) error {
			_, err := db.Exec1(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'prosa-sqldbtest-session'")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := openPostgres(t)
			session := openSession(t, db)
			require.NoError(t, session.Exec(ctx, "SELECT pg_advisory_lock_shared(7)"))
			waited := make(chan error)
			go func() {
				_, err := session.Wait(ctx)
				waited <- err
			}()
			require.NoError(t, end(db, session))
			require.ErrorIs(t, <-waited, sqldb.ErrUnavailable)
			require.Error(t, session.Exec(ctx, "SELECT 1"))
		})
	}
	db := openPostgres(t)
	require.NoError(t, db.Close())
	_, err := db.OpenSession(ctx)
	require.ErrorIs(t, err, sqldb.ErrClosed)
}

// TestPoolerHasNoSessions: a pooler tells a process number of its own, for a connection to it may be another one of the server each time.
func TestPoolerHasNoSessions(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, migrations, service)
	testkit.Open(t, options)
	options.DatabaseURL = pooler(t, options.DatabaseURL)
	db := testkit.Open(t, options)
	_, err := db.OpenSession(ctx)
	require.ErrorIs(t, err, sqldb.ErrNoSession)
	require.NoError(t, db.Write(ctx, insertFn("a")), "else it is a server as any other")
}

// pooler passes everything on but the number of the server's process (BackendKeyData,
// https://www.postgresql.org/docs/15/protocol-message-formats.html), and gives the URL of itself.
func pooler(t *testing.T, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	server := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u.Host = listener.Addr().String()
	var running sync.WaitGroup
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		running.Wait()
	})
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := net.Dial("tcp", server)
			if err != nil {
				t.Errorf("dial: %v", err)
				_ = client.Close()
				return
			}
			running.Go(func() {
				_, _ = io.Copy(backend, client)
				_ = backend.Close()
			})
			running.Go(func() {
				_ = passAnswers(client, backend)
				_ = client.Close()
			})
		}
	})
	return u.String()
}

// passAnswers passes messages of a server on: a letter, the length of the rest with itself, the rest.
func passAnswers(client io.Writer, backend io.Reader) error {
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(backend, head); err != nil {
			return err
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(backend, rest); err != nil {
			return err
		}
		if head[0] == 'K' {
			binary.BigEndian.PutUint32(rest, binary.BigEndian.Uint32(rest)+1)
		}
		if _, err := client.Write(append(head, rest...)); err != nil {
			return err
		}
	}
}

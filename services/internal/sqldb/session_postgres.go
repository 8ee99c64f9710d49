package sqldb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoSession says that this store offers no sessions: it is SQLite, or something stands between this process and the server (a pooler
// such as PgBouncer), so that what belongs to a session would come to belong to somebody else's.
var ErrNoSession = errors.New("store has no sessions of its own")

// A machine that is gone without a word is noticed by both sides after sessionIdle + sessionProbes × sessionProbeInterval.
const (
	sessionIdle          = 4 * time.Second
	sessionProbeInterval = 2 * time.Second
	sessionProbes        = 3
)

// Session is a connection to a PostgreSQL server outside of the pool, for what belongs to a session: LISTEN, and locks that are free
// as soon as the process is no more. It is for one goroutine; only Close may be called from any.
type Session struct {
	conn *pgx.Conn
	end  func()
}

// OpenSession connects. The session ends with Close, or with the store. Errors: ErrNoSession for good, ErrUnavailable for now.
func (db *DB) OpenSession(ctx context.Context) (*Session, error) {
	s, ok := db.engine.(*server)
	if !ok {
		return nil, ErrNoSession
	}
	session, err := s.openSession(ctx)
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	return session, nil
}

func (s *server) openSession(ctx context.Context) (*Session, error) {
	config := s.config.Copy()
	config.RuntimeParams["application_name"] += "-session"
	// So that the server, too, notices a machine that is gone. They count nothing on a socket of the same machine.
	config.RuntimeParams["tcp_keepalives_idle"] = seconds(sessionIdle)
	config.RuntimeParams["tcp_keepalives_interval"] = seconds(sessionProbeInterval)
	config.RuntimeParams["tcp_keepalives_count"] = fmt.Sprint(sessionProbes)
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: sessionIdle, Interval: sessionProbeInterval, Count: sessionProbes,
	}}
	config.DialFunc = dialer.DialContext
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, translatePostgres(err)
	}
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return nil, errors.Join(translatePostgres(err), closeNow(conn))
	}
	if pid != conn.PgConn().PID() {
		return nil, errors.Join(ErrNoSession, closeNow(conn)) // a pooler tells a number of its own
	}
	session := &Session{conn: conn}
	session.end = sync.OnceFunc(func() {
		s.sessions.Delete(session)
		_ = closeNow(conn) // there is nothing to lose
	})
	s.sessions.Store(session, nil)
	if s.closed.Load() {
		session.Close() // it was closed since, and may not have seen this one
		return nil, ErrClosed
	}
	return session, nil
}

func seconds(d time.Duration) string { return fmt.Sprint(int(d.Seconds())) }

// closeNow takes the connection away from whoever uses it.
func closeNow(conn *pgx.Conn) error { return conn.PgConn().Conn().Close() }

// Exec runs a statement.
func (s *Session) Exec(ctx context.Context, query string, args ...any) error {
	_, err := s.conn.Exec(ctx, query, args...)
	return translatePostgres(err)
}

// Query runs a statement and gives each of its rows to scan.
func (s *Session) Query(ctx context.Context, query string, args []any, scan func(row func(dest ...any) error) error) error {
	rows, err := s.conn.Query(ctx, query, args...)
	if err != nil {
		return translatePostgres(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return err
		}
	}
	return translatePostgres(rows.Err())
}

// Listen has Wait hear what is notified on a channel; the name is taken as it is.
func (s *Session) Listen(ctx context.Context, channel string) error {
	return s.Exec(ctx, "LISTEN "+quoteName(channel))
}

// Wait waits for the next notification. When ctx ends first the session stays usable and the error is that of ctx; any other error is the
// end of the session.
func (s *Session) Wait(ctx context.Context) (payload string, err error) {
	notification, err := s.conn.WaitForNotification(ctx)
	switch {
	case err == nil:
		return notification.Payload, nil
	case ctx.Err() != nil && !s.conn.IsClosed():
		return "", ctx.Err()
	default:
		return "", fmt.Errorf("wait for notification: %w", translatePostgres(err))
	}
}

// Close ends the session at once; whoever uses it gets an error.
func (s *Session) Close() { s.end() }

// endSessions ends those that are open, and those that are being opened.
func (s *server) endSessions() {
	s.closed.Store(true)
	s.sessions.Range(func(session, _ any) bool {
		session.(*Session).Close()
		return true
	})
}

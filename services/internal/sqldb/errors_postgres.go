package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes (https://www.postgresql.org/docs/15/errcodes-appendix.html) that this package acts on.
const (
	codeUnique            = "23505"
	codeSerialization     = "40001"
	codeUnknownCompletion = "40003"
	codeDeadlock          = "40P01"
	codeReadOnly          = "25006" // the server has become a standby
	codeLockNotAvailable  = "55P03"
	codeQueryCanceled     = "57014" // by statement_timeout

	classConnection = "08"
	classData       = "22" // messages of this class quote values
	classResources  = "53" // disk full, out of memory, too many connections
	classOperator   = "57" // shut down, crashed, starting up
	classSystem     = "58" // input and output
)

func stateOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func class(state string) string {
	if len(state) < 2 {
		return ""
	}
	return state[:2]
}

// dataError stands for a server's error whose message quotes the value that it refused, which may be a person's.
type dataError struct{ cause *pgconn.PgError }

func (e *dataError) Error() string { return "value refused (SQLSTATE " + e.cause.Code + ")" }

func (e *dataError) Unwrap() error { return e.cause }

// translatePostgres gives a driver's error its meaning. The meaning of a lost connection is that of a statement inside a
// transaction; a statement by itself and a commit know more (see lostInFlight).
func translatePostgres(err error) error {
	if err == nil || errors.Is(err, driver.ErrBadConn) {
		return err // database/sql takes another connection on ErrBadConn
	}
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return translateState(err, server)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &connect), pgconn.SafeToRetry(err):
		return unavailable(err)
	case isNetwork(err):
		return lost(err)
	default:
		return err
	}
}

func translateState(err error, server *pgconn.PgError) error {
	switch {
	case server.Code == codeQueryCanceled:
		return unavailable(fmt.Errorf("%w: %w", errStatementTimeout, err))
	case class(server.Code) == classOperator, class(server.Code) == classConnection, class(server.Code) == classSystem:
		return lost(err)
	case class(server.Code) == classResources, server.Code == codeReadOnly, server.Code == codeLockNotAvailable, mayRunAgain(err):
		return unavailable(err)
	case class(server.Code) == classData:
		return &dataError{cause: server}
	default:
		return err
	}
}

// isNetwork reports whether err comes from the connection and not from the server. The driver has no type for it: it returns what the
// network gave it.
func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed)
}

// wasLost reports whether err says that the connection broke after something was sent.
func wasLost(err error) bool {
	var e *storeError
	return errors.As(err, &e) && e.lost
}

// lostInFlight turns the error of what may have been done although its answer is lost, a commit or a statement by itself, into
// ErrUnknownOutcome. The end of the caller's context breaks the connection too.
func lostInFlight(err error) error {
	switch {
	case err == nil:
		return nil
	case wasLost(err), stateOf(err) == codeUnknownCompletion,
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return unknownOutcome(err)
	default:
		return err
	}
}

// mayRunAgain reports whether a transaction that met err can be tried once more: the server undid it and asked for that. Distributed
// servers say so with the same two codes: CockroachDB
// (https://www.cockroachlabs.com/docs/stable/transaction-retry-error-reference), YugabyteDB
// (https://docs.yugabyte.com/stable/develop/learn/transactions/transactions-errorcodes-ysql), and Citus of a deadlock between its
// servers.
func mayRunAgain(err error) bool {
	state := stateOf(err)
	return state == codeSerialization || state == codeDeadlock
}

func isUniquePostgres(err error) bool { return stateOf(err) == codeUnique }

package sqldb

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

var (
	// ErrUnavailable says that the store cannot take it now: disk full, busy, no connection, time-out. Nothing was stored; the
	// same call may be made again later.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrUnknownOutcome says that a commit was sent and its answer is lost: the data may be stored or not. Only a caller whose
	// write is idempotent may try again.
	ErrUnknownOutcome = errors.New("outcome of the write is unknown")
	// ErrLocked says that another process has the SQLite store open.
	ErrLocked = errors.New("data directory is in use by another process")
	// ErrClosed says that the store was closed. It is a kind of ErrUnavailable.
	ErrClosed = fmt.Errorf("%w: it is closed", ErrUnavailable)
	// ErrSchemaOld says that the schema has fewer migrations than the program.
	ErrSchemaOld = errors.New("schema is older than this program: run `prosa migrate`")
	// ErrSchemaNew says that the schema has migrations that the program does not know, after which it cannot work.
	ErrSchemaNew = errors.New("schema is too new for this program: run the release that migrated it, or a later one")

	errNested   = errors.New("write to store: called inside another write of the same store, which would wait for itself")
	errRowsOpen = errors.New("write to store: function returned without closing its rows")
	errAborted  = errors.New("write to store: function ignored an error that undid its transaction")
)

// storeError gives a driver's error its meaning and keeps the driver's error as the cause.
type storeError struct {
	meaning error // ErrUnavailable or ErrUnknownOutcome
	cause   error
	// lost says that the connection broke after something was sent: a statement by itself may have been done.
	lost bool
}

func (e *storeError) Error() string { return e.meaning.Error() + ": " + e.cause.Error() }

func (e *storeError) Unwrap() []error { return []error{e.meaning, e.cause} }

func unavailable(cause error) error { return &storeError{meaning: ErrUnavailable, cause: cause} }

// lost is the error of a connection that broke after something was sent.
func lost(cause error) error { return &storeError{meaning: ErrUnavailable, cause: cause, lost: true} }

func unknownOutcome(cause error) error { return &storeError{meaning: ErrUnknownOutcome, cause: cause} }

// translate gives a meaning to the errors that database/sql itself makes. Those of the drivers have theirs already, from the
// connections.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return unavailable(err)
	case err.Error() == "sql: database is closed": // database/sql does not export it
		return ErrClosed
	default:
		return err
	}
}

// IsUnique reports whether err says that a row with the same key is there already.
func IsUnique(err error) bool { return isUniqueSQLite(err) || isUniquePostgres(err) }

// IsNoRows reports whether err says that a query for one row found none.
func IsNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// PanicError is what Write returns when its function panicked. The function has no effect then.
type PanicError struct {
	// Value is what the function panicked with; nil if it called runtime.Goexit.
	Value any
	// Stack is the stack of the function at that moment.
	Stack []byte
}

// Error names the kind of the value only: the value may hold a person's data.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "write to store: function ended its goroutine"
	}
	return fmt.Sprintf("write to store: function panicked with a %T", e.Value)
}

// Unwrap is the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

package sqldb

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// codeOf is the extended result code (https://www.sqlite.org/rescode.html) in err, or 0.
func codeOf(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

func primary(code int) int { return code & 0xff }

// translateSQLite gives a driver's error its meaning.
func translateSQLite(err error) error {
	switch primary(codeOf(err)) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CANTOPEN:
		return unavailable(err)
	default:
		return err
	}
}

// endsTransaction reports whether SQLite undoes the whole transaction, or may have done so, on this error of a statement
// (https://www.sqlite.org/lang_transaction.html, "Response to errors within a transaction").
func endsTransaction(err error) bool {
	switch primary(codeOf(err)) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_INTERRUPT:
		return true
	default:
		return false
	}
}

// isDiskFailure reports whether err leaves it open what is on disk. Running out of memory, or of room for the index of the
// write-ahead log, which is not data, does not: it is as harmless as a full disk.
func isDiskFailure(err error) bool {
	code := codeOf(err)
	if primary(code) != sqlite3.SQLITE_IOERR {
		return false
	}
	return code != sqlite3.SQLITE_IOERR_NOMEM && code != sqlite3.SQLITE_IOERR_SHMSIZE
}

func isUniqueSQLite(err error) bool {
	switch codeOf(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return true
	default:
		return false
	}
}

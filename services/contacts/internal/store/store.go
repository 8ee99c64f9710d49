// Package store keeps people, attendances, what was said in them, and events. It holds the only SQL of the contacts service.
package store

import (
	"context"
	"embed"
	"io/fs"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

//go:embed migrations
var migrations embed.FS

// Migrations are the steps of the schema, in the directories sqlite and postgres.
func Migrations() fs.FS {
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return steps
}

// Store is the contacts service's store. It is safe for concurrent use.
type Store struct {
	db      *sqldb.DB
	dialect dialect
	open    openAttendance
}

// openAttendance is OpenAttendance on one engine.
type openAttendance func(ctx context.Context, o Opening) (Opened, error)

// New returns the store in an open database.
func New(db *sqldb.DB) *Store {
	if db.Dialect() == sqldb.Postgres {
		return &Store{db: db, dialect: postgresDialect, open: newPostgresOpen(db)}
	}
	return &Store{db: db, dialect: sqliteDialect, open: newSQLiteOpen(db)}
}

// Ping reports whether the store can be used now.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// dialect is what the engines do differently.
type dialect struct {
	// using names the index by which a table is to be read.
	using func(index string) string
	// run is the condition that a column has a value and the numbers behind it in an index are from low to high, and runOrder orders by
	// those numbers, so that just this part of the index is read, and in its order.
	run      func(column, number, value, low, high string) string
	runOrder func(column, number, direction string) string
	// passing is a column in the condition of a query that is to pass over rows rather than to use an index of this column.
	passing func(column string) string
	// one joins the one row of another table that a condition finds for each row before it, by an index.
	one func(table, alias, condition string) (from, where string)
	// picked reads those rows of an instance, $1, whose numbers the JSON array given as a parameter has, each by the primary key.
	picked func(table, alias, primary, list string) (from, where string)
	// among is the condition that the column before it is in the result of a query that gives few rows.
	among func(query string) string
	// texts and numbers are the condition that the column before them is one of the elements of a JSON array given as a parameter. A
	// list in one parameter keeps the statement the same however long the list is.
	texts   func(parameter string) string
	numbers func(parameter string) string
	// history is a query for the turns of those attendances of the instance $1 whose numbers the JSON array $2 has: attendance and
	// items of each, the newest of an attendance first.
	history string
	// deleteTurns deletes the turns that history gives. lockProgress, if there is something to lock, comes before.
	deleteTurns, lockProgress string
	// recordTurns stores what was said and how far the attendances are with it, and gives the turns that are new, in their order, and
	// the attendances that are not there.
	recordTurns func(ctx context.Context, tx sqldb.Tx, instance string, turns []Turn) (fresh []*Turn, unknown []int64, err error)
}

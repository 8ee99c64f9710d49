// Package store keeps agents with their versions, conversations with their turns and messages, and the turns that contacts has
// not got yet. It is the agent service's only SQL.
package store

import (
	"context"
	"errors"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var (
	// ErrNotFound says that the row is not there, or is not the instance's.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a turn was computed on what is no longer so: the same turn, another turn of the conversation, or
	// another conversation of the same person was committed first. Nothing was stored; the caller looks again.
	ErrConflict = errors.New("overtaken by another write")
	// ErrLeaseLost says that another process does the work now. Nothing was stored.
	ErrLeaseLost = errors.New("lease was lost")
)

// Store is the agent service's store. It is safe for concurrent use. Its methods return the errors above, those of sqldb, and
// those of the context.
type Store struct {
	db         *sqldb.DB
	dialect    dialect
	commitTurn commitTurn
}

// dialect is where the engines differ.
type dialect struct {
	newCommit     func(db *sqldb.DB) commitTurn
	readTurns     string // of an instance, by a JSON list of ids
	readEnds      string // likewise, of conversations
	finishSilent  string // likewise
	recordEnds    string // likewise
	deleteRecords func(ctx context.Context, db *sqldb.DB, lease Lease, instance string, keys []RecordKey) error

	index        searchIndex
	readFeedback string // of a conversation, by a JSON list of turns
	lockMetadata string // reads a conversation's metadata, so that nobody else changes it
	// holdConversation find one of the rows by which a conversation exists, and keep it from being deleted.
	holdConversation []string
	// eraseConversations take out what is kept beside the conversations of a JSON list, in this order: first what lets others go on
	// writing the rest.
	eraseConversations []string
	// markRefused says that a turn, which contacts will never have, is to be put into the index; empty where nobody needs to.
	markRefused string
	// inList is the condition that a column before it is an element of the JSON list in a parameter, elements the table of them.
	inList, elements func(parameter string) string
}

// New returns the store in db, whose schema is that of Migrations.
func New(db *sqldb.DB) *Store {
	d := sqliteDialect
	if db.Dialect() == sqldb.Postgres {
		d = postgresDialect
	}
	return &Store{db: db, dialect: d, commitTurn: d.newCommit(db)}
}

// Package store keeps instances and API keys. It holds the only SQL of the accounts service.
package store

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
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

var (
	// ErrInstanceNotFound says that there is no instance with this slug.
	ErrInstanceNotFound = errors.New("no such instance")
	// ErrInstanceExists says that the slug is or was in use.
	ErrInstanceExists = errors.New("instance exists")
	// ErrKeyNotFound says that the instance has no key with this id.
	ErrKeyNotFound = errors.New("no such API key")
)

// Store is the accounts service's store. It is safe for concurrent use.
type Store struct {
	db    *sqldb.DB
	clock clock.Clock
}

// New returns the store in an open database. The clock decides when idempotency records expire.
func New(db *sqldb.DB, c clock.Clock) *Store { return &Store{db: db, clock: c} }

// Ping reports whether the store can be used now.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Once runs create in a transaction, together with the record that lets a repetition with the same idempotency key get the first
// response, which it reports as replayed. A nil key runs create without a record. The function may run more than once, and only its
// last run counts.
func (s *Store) Once(ctx context.Context, key *idempotency.Key, create func(ctx context.Context, tx *Tx) ([]byte, error)) (response []byte, replayed bool, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, sqlTx sqldb.Tx) error {
		var err error
		response, replayed, err = idempotency.Run(ctx, sqlTx, s.clock, key, func() ([]byte, error) {
			return create(ctx, &Tx{tx: sqlTx})
		})
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return response, replayed, nil
}

// Tx is what can be made inside Once.
type Tx struct{ tx sqldb.Tx }

// Package store is the channel service's only SQL: channels, the inbox of
// accepted messages and the outbox of deliveries, on either engine.
//
// Two kinds of queue live here. A thread is what one person wrote on one
// channel; a lane is what one conversation has to say to one endpoint. Both
// number their entries at commit, and both are pending exactly while the last
// number is beyond the last one done. Whoever works on one holds a lease with
// an epoch; every result names the epoch, and an old one is ErrLeaseLost and
// changes nothing. While a lease is held, the queue's next time is the lease's
// end, so that a query for what is due never steps over work in progress.
//
// Beside the lanes stands what is sent again on demand: of each conversation the
// deliveries that were settled once and are pending again.
//
// The limits of hot statements are written LIMIT CAST($n AS BIGINT) + 0: SQLite
// looks at the value of a bare parameter while it plans, and plans again each
// time the parameter is bound.
package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var (
	// ErrChannelNotFound says that there is no such channel, or that it was deleted.
	ErrChannelNotFound = errors.New("no such channel")
	// ErrSecretChanged says that the secrets are not those that were read, or that the channel was deleted since.
	ErrSecretChanged = errors.New("the secrets changed since they were read")
	// ErrLeaseLost says that somebody else took the thread or lane since: the result was not stored.
	ErrLeaseLost = errors.New("lease was lost")
)

// Store is the data of the channel service. It is safe for concurrent use.
type Store struct {
	// db is for everything but the three writes that every message makes, claims, and the sending again, which use pool.
	db       database
	pool     *sqldb.DB
	dialect  dialect
	heads    heads
	requeues requeues
	lane     laneSQL

	findLanes *sqldb.Bulk
}

// database is the part of [sqldb.DB] that statements need.
type database interface {
	Reader() sqldb.Reader
	Write(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error
	Erase(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error
	Exec1(ctx context.Context, query string, args ...any) (sql.Result, error)
	Query1(ctx context.Context, query string, args []any, dest ...any) error
}

// dialect is what the two engines do differently.
type dialect interface {
	// others is the database for whatever is not below.
	others(db *sqldb.DB) database
	// accept stores a message as [Store.Accept] says.
	accept(ctx context.Context, db *sqldb.DB, m *Message, key *Key, hold time.Time) (Accepted, error)
	// finishTurn and settle are [Store.FinishTurn] and [Store.Settle].
	finishTurn(ctx context.Context, db *sqldb.DB, turn *Turn, now time.Time) (Finished, error)
	settle(ctx context.Context, db *sqldb.DB, d *Delivery, epoch int64, now time.Time) (Settled, error)
	// claimThreads and claimLanes are UPDATE statements that return what was
	// taken; see [Store.ClaimThreads] and [Store.ClaimLanes] for their arguments,
	// behind which come those of holder.
	claimThreads() string
	claimLanes() string
	// tookThreads and tookLanes are told of claims in their transaction.
	tookThreads(taken []Thread, until time.Time)
	tookLanes(taken []Lane, until time.Time)
	// claimRedeliveries is the same for [Store.ClaimRedeliveries].
	claimRedeliveries() string
	// holder is what claims name besides.
	holder() []any
	// lane is what reads and deletes all deliveries of a lane, whatever their
	// state, and listFrom what its list takes besides: the id of the delivery
	// behind which it goes on, "" for none.
	lane() laneSQL
	listFrom(id string) []any
	// retire deletes a delivery that was settled before a time, and returns how
	// many that were.
	retire(ctx context.Context, tx sqldb.Tx, instance, id string, before time.Time) (int64, error)
	// bulk makes a statement over rows of values, in the engine's best form.
	bulk(head string, columns []string, tail string) *sqldb.Bulk
}

// New returns a store on db, which must have the schema of package migrations.
// Where several processes share it, leases end by time only; see NewShared.
func New(db *sqldb.DB) *Store { return NewShared(db, func() int64 { return 0 }) }

// NewShared returns a store whose leases name a token, that of this process
// while others can tell whether it lives, else 0; see VoidLeasesOf.
func NewShared(db *sqldb.DB, token func() int64) *Store {
	var d dialect = postgresDialect{token: token}
	if db.Dialect() == sqldb.SQLite {
		d = newSQLiteDialect(db)
	}
	return &Store{db: d.others(db), pool: db, dialect: d, heads: newHeads(d), requeues: newRequeues(d), lane: d.lane(), findLanes: newFindLanes(d)}
}

// Ping reports whether the store can be used now.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

// Exclusive reports whether no other process can be working on this store, so
// that every lease found at start is that of a process that is no more.
func (s *Store) Exclusive() bool { return s.pool.Dialect() == sqldb.SQLite }

// VoidLeases takes back every lease. Only a process that is alone on the
// store may call it, and only before it takes leases of its own.
func (s *Store) VoidLeases(ctx context.Context, now time.Time) error {
	return s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if _, err := tx.ExecContext(ctx, `
UPDATE thread SET epoch = epoch + 1, lease_until = 0, next_time = $1
WHERE done_seq < last_seq AND next_time > $1 AND lease_until > 0`, sqldb.Micros(now)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `
UPDATE lane SET epoch = epoch + 1, lease_until = 0, next_time = $1
WHERE settled_seq < last_seq AND next_time > $1 AND lease_until > 0`, sqldb.Micros(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
UPDATE redelivery_lane SET epoch = epoch + 1, lease_until = 0, next_time = $1
WHERE waiting > 0 AND next_time > $1 AND lease_until > 0`, sqldb.Micros(now))
		return err
	})
}

// secretChanged is ErrSecretChanged once the change can be read: on SQLite it
// may have been made in the same group, which is not committed yet.
func (s *Store) secretChanged(ctx context.Context) error {
	if err := s.pool.Write(ctx, func(context.Context, sqldb.Tx) error { return nil }); err != nil {
		return err
	}
	return ErrSecretChanged
}

// changed turns "no row" of a statement that names an epoch into ErrLeaseLost.
func changed(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	rows, err := result.RowsAffected()
	if err == nil && rows == 0 {
		return ErrLeaseLost
	}
	return err
}

// leased is changed for a statement that returns a row.
func leased(err error) error {
	if sqldb.IsNoRows(err) {
		return ErrLeaseLost
	}
	return err
}

// optional is a text that is NULL when it is empty.
func optional(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// collect scans every row of a query.
func collect[T any](rows *sql.Rows, err error, scan func(row *T) []any) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var row T
		if err := rows.Scan(scan(&row)...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return all, rows.Close()
}

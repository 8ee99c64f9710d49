// Package worklease says which of the processes that share a store does a work that only one of them may do. It keeps that in a table of
// the store:
//
//	CREATE TABLE worker_lease (
//	    instance TEXT NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL, expire_time BIGINT NOT NULL,
//	    PRIMARY KEY (instance, name)
//	)
//
// The instance is empty: such work is for all of them.
package worklease

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const take = `
INSERT INTO worker_lease (instance, name, holder, epoch, expire_time) VALUES ('', $1, $2, 1, $3)
ON CONFLICT (instance, name) DO UPDATE SET
    epoch = CASE WHEN worker_lease.holder = excluded.holder THEN worker_lease.epoch ELSE worker_lease.epoch + 1 END,
    holder = excluded.holder,
    expire_time = excluded.expire_time
WHERE worker_lease.holder = excluded.holder OR worker_lease.expire_time <= $4
RETURNING epoch`

// Take takes a lease until a moment, or renews the holder's own, and gives its epoch, which grows whenever another holder takes over. It
// reports false when another one holds it.
func Take(ctx context.Context, db *sqldb.DB, name, holder string, now, until time.Time) (epoch int64, held bool, err error) {
	err = db.Query1(ctx, take, []any{name, holder, sqldb.Micros(until), sqldb.Micros(now)}, &epoch)
	return taken(epoch, err)
}

// TakeIn is Take in a transaction.
func TakeIn(ctx context.Context, tx sqldb.Tx, name, holder string, now, until time.Time) (epoch int64, held bool, err error) {
	err = tx.QueryRowContext(ctx, take, name, holder, sqldb.Micros(until), sqldb.Micros(now)).Scan(&epoch)
	return taken(epoch, err)
}

func taken(epoch int64, err error) (int64, bool, error) {
	if sqldb.IsNoRows(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("take lease: %w", err)
	}
	return epoch, true, nil
}

// Shift is one process's part in a work of which only one of the processes that share a store has the shift at a time. One goroutine
// uses it. The zero value has no store: make it whole.
type Shift struct {
	DB *sqldb.DB
	// Name is the work's, Holder the process's.
	Name, Holder string
	// Length is how long a process that froze keeps the others from the work.
	Length time.Duration

	until time.Time
}

// Hold takes the shift, or goes on with it, and reports false when another process has it. Of the lease that stands for it at least half
// is left afterwards; between two calls must be less than that, or the work must bear to be done by two at once.
func (s *Shift) Hold(ctx context.Context, now time.Time) (bool, error) {
	if s.until.Sub(now) > s.Length/2 {
		return true, nil
	}
	until := now.Add(s.Length)
	_, held, err := Take(ctx, s.DB, s.Name, s.Holder, now, until)
	if err != nil {
		return false, err
	}
	if !held {
		until = time.Time{}
	}
	s.until = until
	return held, nil
}

// Forget has the next Hold ask the store.
func (s *Shift) Forget() { s.until = time.Time{} }

// Holder is what this process is called as the holder of leases: name, or, on the embedded store, the same in every process. That one has
// one owner at a time, and its next start goes on at once with what a killed process held.
func Holder(db *sqldb.DB, name string) string {
	if db.Dialect() == sqldb.SQLite {
		return "embedded"
	}
	return name
}

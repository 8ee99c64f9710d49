package sqldb

import (
	"context"
)

// Erase is Write for functions that delete what nobody may find any more, also not who reads the store's file: on SQLite what they
// delete is overwritten with zeros. What earlier versions of the rows left behind, Scrub removes.
func (db *DB) Erase(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	return db.Write(ctx, func(ctx context.Context, tx Tx) error {
		if raw, ok := tx.(*writerTx); ok {
			return raw.raw.securely(ctx, func() error { return fn(ctx, tx) })
		}
		return fn(ctx, tx)
	})
}

// Scrub removes from the store's files what is in no row any more: deleted rows, former versions of rows, and those that moved to
// another page. On SQLite it overwrites all of it with zeros, in short steps between the writes of others, and empties the
// write-ahead log; on PostgreSQL it runs VACUUM on every table of the store, which makes the room of dead rows free for others
// (its write-ahead log keeps them until it is recycled). It takes time in proportion to the size of the store.
//
// What was erased before the call is gone when it returns nil. ErrUnavailable says that a long reader kept the log from being
// emptied.
func (db *DB) Scrub(ctx context.Context) error { return db.engine.scrub(ctx, db) }

// securely runs fn so that what it deletes is overwritten. These pragmas take effect while they are prepared, so they must not be
// kept prepared as others are.
func (c *sqliteConn) securely(ctx context.Context, fn func() error) (err error) {
	if err := c.unprepared(ctx, "PRAGMA secure_delete=ON"); err != nil {
		return err
	}
	defer func() {
		if off := c.unprepared(ctx, "PRAGMA secure_delete=OFF"); err == nil {
			err = off
		}
	}()
	return fn()
}

// unprepared runs a statement that is not kept prepared.
func (c *sqliteConn) unprepared(ctx context.Context, query string) error {
	_, err := c.rawSQLite.ExecContext(ctx, query, nil)
	return c.note(err)
}

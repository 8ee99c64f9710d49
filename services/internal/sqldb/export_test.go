package sqldb

import "errors"

// FailNow makes the store believe that its disk failed.
func FailNow(db *DB) { db.engine.(*embedded).writer.fail(errors.New("disk on fire")) }

// WalPages is how many pages the writer knows to be in the log.
func WalPages(db *DB) int { return db.engine.(*embedded).writer.wal.pages }

const (
	MaxGroup        = maxGroup
	MaxStatements   = maxStatements
	MaxAttempts     = maxAttempts
	CheckpointPages = checkpointPages
)

// Waiting is how many operations wait for the store.
func (b *Batcher[O]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

package sqldb

import (
	"errors"
	"testing"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

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

// OnLogWrite has each write that goes to the system for a log go through a function, until the end of the test.
func OnLogWrite(t *testing.T, do func(n int32, write func() int32) int32) {
	original := plain.write
	plain.write = func(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
		return do(n, func() int32 { return original(tls, file, buffer, n, offset) })
	}
	t.Cleanup(func() { plain.write = original })
}

// LockPage is a number that no page of a file has.
const LockPage = lockPage

// OnRekey tells a function of each page that gets another number, and which number of its cache's pages was the greatest up to now,
// until the end of the test.
func OnRekey(t *testing.T, do func(greatest, to uint32)) {
	original := plainCache.rekey
	plainCache.rekey = func(tls *libc.TLS, cache, page uintptr, from, to uint32) {
		do(at[sqlite3.TPCache1](cache).FiMaxKey, to)
		original(tls, cache, page, from, to)
	}
	t.Cleanup(func() { plainCache.rekey = original })
}

// CacheGroups are the groups of two page caches that are made for it.
func CacheGroups() (one, other uintptr) {
	tls := libc.NewTLS()
	defer tls.Close()
	first, second := plainCache.create(tls, pageSize, 0, 1), plainCache.create(tls, pageSize, 0, 1)
	defer plainCache.destroy(tls, first)
	defer plainCache.destroy(tls, second)
	return at[sqlite3.TPCache1](first).FpGroup, at[sqlite3.TPCache1](second).FpGroup
}

package sqldb

import (
	"fmt"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// The page cache set here is SQLite's own but for two things.
//
// Each connection has its own, which nobody else may use, as it is in SQLite unless it is built to give memory back on demand, as the
// driver's is: then all caches of the process share a lock, which is taken for each look at a page.
//
// When a page of an index is full, SQLite spreads its rows over others, and to bring those into order it swaps the numbers of pages.
// The one that waits gets a number meanwhile that no page of a file has: that of the page where the locks are. The cache takes this
// for the greatest number there is, so that the commit, which drops what lies behind the end of the file, walks the whole cache for
// it: of some thousand pages, under load at nearly each commit. Here, what was the greatest number before such a page got its number
// for the time being is so afterwards.
//
// SQLite must be told before anybody opens a file, so this is set when the program begins.
var errPageCache = setPageCache()

func setPageCache() error {
	tls := libc.NewTLS()
	defer tls.Close()
	// SQLite copies what is in this memory.
	methods := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_pcache_methods2{})))
	arguments := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(methods)))
	defer libc.Xfree(tls, methods)
	defer libc.Xfree(tls, arguments)
	if methods == 0 || arguments == 0 {
		return errNoMemory
	}
	if code := sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_GETPCACHE2, libc.VaList(arguments, methods)); code != sqlite3.SQLITE_OK {
		return fmt.Errorf("read page cache of sqlite: code %d", code)
	}
	m := at[sqlite3.Tsqlite3_pcache_methods2](methods)
	plainCache.init, plainCache.rekey = function[initCacheFunc](m.FxInit), function[rekeyFunc](m.FxRekey)
	plainCache.create, plainCache.destroy = function[createCacheFunc](m.FxCreate), function[destroyCacheFunc](m.FxDestroy)
	m.FxInit, m.FxRekey = pointer(initCaches), pointer(rekey)
	if code := sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_PCACHE2, libc.VaList(arguments, methods)); code != sqlite3.SQLITE_OK {
		return fmt.Errorf("set page cache of sqlite: code %d", code)
	}
	return nil
}

// The signatures of the functions of a page cache that are replaced or used.
type (
	initCacheFunc    = func(tls *libc.TLS, argument uintptr) int32
	createCacheFunc  = func(tls *libc.TLS, pageSize, extra, purgeable int32) uintptr
	destroyCacheFunc = func(tls *libc.TLS, cache uintptr)
	rekeyFunc        = func(tls *libc.TLS, cache, page uintptr, from, to uint32)
)

// plainCache are the functions of SQLite's own page cache.
var plainCache struct {
	init    initCacheFunc
	create  createCacheFunc
	destroy destroyCacheFunc
	rekey   rekeyFunc
}

// initCaches has each cache made from now on stand alone. What says so lies with the group that caches are of otherwise, which a first
// cache leads to.
func initCaches(tls *libc.TLS, argument uintptr) int32 {
	if code := plainCache.init(tls, argument); code != sqlite3.SQLITE_OK {
		return code
	}
	first := plainCache.create(tls, pageSize, 0, 1)
	if first == 0 {
		return sqlite3.SQLITE_NOMEM
	}
	common := at[sqlite3.TPCacheGlobal](at[sqlite3.TPCache1](first).FpGroup)
	plainCache.destroy(tls, first)
	common.FseparateCache = 1
	return sqlite3.SQLITE_OK
}

const (
	pageSize = 4096 // SQLite's own, which the files have
	// lockPage is the page at 1 GiB, where the locks are. See https://sqlite.org/fileformat2.html#the_lock_byte_page.
	lockPage = 1<<30/pageSize + 1
)

func rekey(tls *libc.TLS, cache, page uintptr, from, to uint32) {
	greatest := &at[sqlite3.TPCache1](cache).FiMaxKey
	before := *greatest
	plainCache.rekey(tls, cache, page, from, to)
	if to == lockPage {
		*greatest = before
	}
}

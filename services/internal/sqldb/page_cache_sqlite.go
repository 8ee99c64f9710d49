package sqldb

import (
	"fmt"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// When a page of an index is full, SQLite spreads its rows over others, and to bring those into order it swaps the numbers of pages.
// The one that waits gets a number meanwhile that no page of a file has: that of the page where the locks are. Its page cache
// takes this for the greatest number there is, so that the commit, which drops what lies behind the end of the file, walks the whole
// cache for it: of some thousand pages, under load at nearly each commit. The page cache set here is SQLite's own but for that: what
// was the greatest number before such a page got its number for the time being is so afterwards.
//
// SQLite must be told before anybody opens a file, so this is set when the program begins.
var errPageCache = orderlyPageCache()

func orderlyPageCache() error {
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
	plainRekey = function[rekeyFunc](at[sqlite3.Tsqlite3_pcache_methods2](methods).FxRekey)
	at[sqlite3.Tsqlite3_pcache_methods2](methods).FxRekey = pointer(rekey)
	if code := sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_PCACHE2, libc.VaList(arguments, methods)); code != sqlite3.SQLITE_OK {
		return fmt.Errorf("set page cache of sqlite: code %d", code)
	}
	return nil
}

// rekeyFunc gives a page another number.
type rekeyFunc = func(tls *libc.TLS, cache, page uintptr, from, to uint32)

// plainRekey is that of SQLite's own page cache.
var plainRekey rekeyFunc

const (
	pageSize = 4096 // SQLite's own, which the files have
	// lockPage is the page at 1 GiB, where the locks are. See https://sqlite.org/fileformat2.html#the_lock_byte_page.
	lockPage = 1<<30/pageSize + 1
)

func rekey(tls *libc.TLS, cache, page uintptr, from, to uint32) {
	greatest := &at[sqlite3.TPCache1](cache).FiMaxKey
	before := *greatest
	plainRekey(tls, cache, page, from, to)
	if to == lockPage {
		*greatest = before
	}
}

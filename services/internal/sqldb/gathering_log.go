package sqldb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLite writes each page of a commit to the write-ahead log by two calls of the system: 24 bytes of header, and the page. A commit
// of a group has some fifty pages, and the calls cost more than what they write. gatheringLog is the name of a file system for SQLite
// that is its own in all but this: what is written to a log, end to end, goes to the system in one call.
//
// What it holds back is never more than a part of one commit. It hands on everything as soon as the commit's last page is written,
// so that SQLite learns of a full disk where it always did, and before anybody reads, cuts, syncs or closes the file. Until then the
// pages are of no meaning to anybody: no reader looks behind the last commit that SQLite has announced, which it does afterwards.
const gatheringLog = "prosa-gathering-log"

const (
	// gatheredBytes is how much is held back at most. SQLite's own file system writes less than 128 KiB at once.
	gatheredBytes = 127 << 10
	// frameHeader is the length of the header before each page. Its second word is not zero before the last page of a commit. See
	// https://sqlite.org/fileformat2.html#walformat.
	frameHeader = 24
)

// The signatures of the functions of a file system that are replaced.
type (
	openFunc     = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	closeFunc    = func(tls *libc.TLS, file uintptr) int32
	transferFunc = func(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32
	truncateFunc = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFunc     = func(tls *libc.TLS, file uintptr, flags int32) int32
	sizeFunc     = func(tls *libc.TLS, file, size uintptr) int32
)

// plain are the functions of SQLite's own file system.
var plain struct {
	vfs      uintptr
	open     openFunc
	close    closeFunc
	read     transferFunc
	write    transferFunc
	truncate truncateFunc
	sync     syncFunc
	size     sizeFunc
}

var (
	// logMethods is the address of those of an open log, once there was one: all logs have the same.
	logMethods     uintptr
	logMethodsOnce sync.Once

	// logs are the open logs by the address that SQLite knows each by.
	logs sync.Map
)

// openLog is a log and what is held back of it. Like the connection it belongs to, it is used by one goroutine at a time.
type openLog struct {
	start int64 // where in the file held belongs
	held  []byte
	// memory is where held lies, 0 before the first write. It is SQLite's, as are all addresses that SQLite gets.
	memory uintptr
	// last says that a page is to come which ends a commit.
	last bool
	// end is how far the log was written since it last began anew.
	end int64
}

// registerGatheringLog makes the file system known to SQLite, once for the process.
var registerGatheringLog = sync.OnceValue(func() error {
	tls := libc.NewTLS()
	defer tls.Close()
	plain.vfs = sqlite3.Xsqlite3_vfs_find(tls, 0)
	if plain.vfs == 0 {
		return errors.New("find file system of sqlite: there is none")
	}
	// What is made here stays for the life of the process, as SQLite keeps the addresses.
	name, err := libc.CString(gatheringLog)
	if err != nil {
		return fmt.Errorf("name file system: %w", err)
	}
	address := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	logMethods = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{})))
	if address == 0 || logMethods == 0 {
		return errNoMemory
	}
	vfs := at[sqlite3.Tsqlite3_vfs](address)
	*vfs = *at[sqlite3.Tsqlite3_vfs](plain.vfs)
	vfs.FzName, vfs.FpNext = name, 0
	plain.open = function[openFunc](vfs.FxOpen)
	vfs.FxOpen = pointer(openGathering)
	if code := sqlite3.Xsqlite3_vfs_register(tls, address, 0); code != sqlite3.SQLITE_OK {
		return fmt.Errorf("register file system with sqlite: code %d", code)
	}
	return nil
})

// at is what is at an address of SQLite's memory, which Go's collector knows nothing of.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function is the function that SQLite knows by an address, and pointer is the address of a function that is no closure.
func function[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }

func pointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

func openGathering(tls *libc.TLS, _, name, file uintptr, flags int32, outFlags uintptr) int32 {
	code := plain.open(tls, plain.vfs, name, file, flags, outFlags)
	if code != sqlite3.SQLITE_OK || flags&sqlite3.SQLITE_OPEN_WAL == 0 {
		return code
	}
	methods := &at[sqlite3.Tsqlite3_file](file).FpMethods
	logMethodsOnce.Do(func() {
		own := at[sqlite3.Tsqlite3_io_methods](logMethods)
		*own = *at[sqlite3.Tsqlite3_io_methods](*methods)
		plain.close, plain.read, plain.write = function[closeFunc](own.FxClose), function[transferFunc](own.FxRead), function[transferFunc](own.FxWrite)
		plain.truncate, plain.sync, plain.size = function[truncateFunc](own.FxTruncate), function[syncFunc](own.FxSync), function[sizeFunc](own.FxFileSize)
		own.FxClose, own.FxRead, own.FxWrite = pointer(closeLog), pointer(readLog), pointer(writeLog)
		own.FxTruncate, own.FxSync, own.FxFileSize = pointer(truncateLog), pointer(syncLog), pointer(sizeLog)
	})
	*methods = logMethods
	logs.Store(file, &openLog{})
	return code
}

func logOf(file uintptr) *openLog {
	l, _ := logs.Load(file) // there from open to close
	return l.(*openLog)
}

// handOn writes what is held back. After an error it is gone, as a part of a write that failed.
func (l *openLog) handOn(tls *libc.TLS, file uintptr) int32 {
	n := len(l.held)
	if n == 0 {
		return sqlite3.SQLITE_OK
	}
	code := plain.write(tls, file, l.memory, int32(n), l.start)
	l.held = l.held[:0]
	return code
}

// add holds back what is written at the end of what is held.
func (l *openLog) add(tls *libc.TLS, buffer uintptr, n int32) int32 {
	if l.memory == 0 {
		if l.memory = libc.Xmalloc(tls, gatheredBytes); l.memory == 0 {
			return sqlite3.SQLITE_IOERR_NOMEM
		}
		l.held = unsafe.Slice(at[byte](l.memory), gatheredBytes)[:0]
	}
	l.held = append(l.held, unsafe.Slice(at[byte](buffer), int(n))...)
	l.end += int64(n)
	return sqlite3.SQLITE_OK
}

func writeLog(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
	l := logOf(file)
	if offset != l.start+int64(len(l.held)) || len(l.held)+int(n) > gatheredBytes {
		if code := l.handOn(tls, file); code != sqlite3.SQLITE_OK {
			return code
		}
		l.start = offset
	}
	if offset < l.end || n > gatheredBytes { // a new beginning, or a correction
		if offset == 0 || offset > l.end {
			l.end = offset + int64(n)
		}
		l.last = false
		return plain.write(tls, file, buffer, n, offset)
	}
	l.end = offset
	if code := l.add(tls, buffer, n); code != sqlite3.SQLITE_OK {
		return code
	}
	if n == frameHeader {
		l.last = binary.BigEndian.Uint32(l.held[len(l.held)-frameHeader+4:]) != 0
		return sqlite3.SQLITE_OK
	}
	if l.last {
		l.last = false
		return l.handOn(tls, file)
	}
	return sqlite3.SQLITE_OK
}

func readLog(tls *libc.TLS, file, buffer uintptr, n int32, offset int64) int32 {
	if code := logOf(file).handOn(tls, file); code != sqlite3.SQLITE_OK {
		return code
	}
	return plain.read(tls, file, buffer, n, offset)
}

func truncateLog(tls *libc.TLS, file uintptr, size int64) int32 {
	if code := logOf(file).handOn(tls, file); code != sqlite3.SQLITE_OK {
		return code
	}
	return plain.truncate(tls, file, size)
}

func syncLog(tls *libc.TLS, file uintptr, flags int32) int32 {
	if code := logOf(file).handOn(tls, file); code != sqlite3.SQLITE_OK {
		return code
	}
	return plain.sync(tls, file, flags)
}

func sizeLog(tls *libc.TLS, file, size uintptr) int32 {
	if code := logOf(file).handOn(tls, file); code != sqlite3.SQLITE_OK {
		return code
	}
	return plain.size(tls, file, size)
}

// closeLog gives nothing back that was held: it is of a commit that has not come to its end.
func closeLog(tls *libc.TLS, file uintptr) int32 {
	libc.Xfree(tls, logOf(file).memory) // which may be 0
	logs.Delete(file)
	return plain.close(tls, file)
}

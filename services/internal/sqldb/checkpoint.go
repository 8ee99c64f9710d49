package sqldb

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"modernc.org/sqlite"
)

const (
	// checkpointPages is how many pages (of 4 KiB) are written to the log before they are copied to the database, while which all
	// writes wait. A page that was written many times is copied once, so that a longer log makes a busy store quicker; and it is read
	// anew, in a tenth of a second, after the process was killed.
	checkpointPages = 32 << 10
	// restartPages is the length of the log at which the writer waits for old readers, so that the log can begin anew. Without
	// it, readers that follow each other without a gap would let it grow for ever.
	restartPages = 64 << 10
)

// checkpointer keeps the write-ahead log short. SQLite's own checkpoint runs inside COMMIT, where the callers wait for it and its
// errors are dropped; this one runs between two groups, after the callers were woken.
type checkpointer struct {
	pages int // written to the log since the last complete checkpoint
	// nextRestart is the length of the log at which to wait for readers again.
	nextRestart int
	// empty asks for a log without content: see DB.Scrub.
	empty bool
}

// checkpoint runs after each group and mostly only counts.
func (w *writer) checkpoint() {
	if w.cause.Load() != nil {
		return
	}
	if w.wal.empty {
		w.emptyLog()
	}
	written, _, err := w.raw.Status(sqlite.DBStatusCacheWrite, true)
	if err != nil {
		w.logger.Error("count pages of the write-ahead log", slog.Any("error", err))
		return
	}
	w.wal.pages += written
	if w.wal.pages < checkpointPages {
		return
	}
	length, copied, err := w.runCheckpoint("PRAGMA wal_checkpoint(PASSIVE)")
	if err == nil && copied < length && length >= max(restartPages, w.wal.nextRestart) {
		w.wal.nextRestart = length + restartPages
		length, copied, err = w.runCheckpoint("PRAGMA wal_checkpoint(RESTART)")
	}
	if err != nil {
		// The log still has everything. Only a disk that failed must stop the store: a full one gets another try.
		w.raw.broken = nil
		w.note(err)
		w.logger.Warn("checkpoint write-ahead log", slog.Any("error", err))
		w.wal.pages = checkpointPages / 2
		return
	}
	if copied < length {
		w.wal.pages = checkpointPages / 2 // a reader needs the rest of the log; try again soon
		return
	}
	w.wal = checkpointer{empty: w.wal.empty}
}

// runCheckpoint returns the length of the log and how much of it is copied, in pages.
func (w *writer) runCheckpoint(pragma string) (length, copied int, err error) {
	rows, err := w.raw.QueryContext(w.ctx, pragma, nil)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = rows.Close() }() // everything was read
	row := make([]driver.Value, 3)      // busy, log, checkpointed
	if err := rows.Next(row); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, fmt.Errorf("read result of checkpoint: %w", err)
	}
	log, _ := row[1].(int64)
	done, _ := row[2].(int64)
	return int(log), int(done), nil
}

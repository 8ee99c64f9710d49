package sqldb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	// scrubPages is how many pages one step looks at: a millisecond or two, for which other writers wait.
	scrubPages = 256
	// truncateWait is how long emptying the log waits for readers, all in all, and truncatePause how long between two tries.
	truncateWait  = 5 * time.Second
	truncatePause = 20 * time.Millisecond
)

var errLogInUse = errors.New("a reader keeps the write-ahead log from being emptied")

// scrub goes through all pages of the file, and then empties the log. Pages that are added meanwhile are either new or were free and
// are overwritten when they are taken, so those that there are at the beginning are enough.
func (e *embedded) scrub(ctx context.Context, db *DB) error {
	for from, last := int64(1), int64(1); from <= last; from += scrubPages {
		err := db.Write(ctx, func(ctx context.Context, tx Tx) error {
			s := &scrubbing{tx: tx}
			var err error
			if from == 1 {
				last, err = s.begin(ctx)
			} else {
				_, err = s.begin(ctx)
			}
			if err != nil {
				return err
			}
			return s.pages(ctx, from, min(from+scrubPages-1, last))
		})
		if err != nil {
			return fmt.Errorf("scrub pages: %w", err)
		}
	}
	return e.emptyLog(ctx, db)
}

// emptyLog copies the log into the database and cuts it to nothing, as soon as no reader needs it.
func (e *embedded) emptyLog(ctx context.Context, db *DB) error {
	deadline := db.clock.Now().Add(truncateWait)
	for {
		// The writer empties the log after the commit of the first function; the second one finds out whether it could.
		ask := func(_ context.Context, _ Tx) error { e.writer.wal.empty = true; return nil }
		if err := db.Write(ctx, ask); err != nil {
			return err
		}
		var emptied bool
		look := func(_ context.Context, _ Tx) error { emptied = !e.writer.wal.empty; return nil }
		if err := db.Write(ctx, look); err != nil {
			return err
		}
		if emptied {
			return nil
		}
		if !db.clock.Now().Before(deadline) {
			return unavailable(errLogInUse)
		}
		timer := db.clock.NewTimer(truncatePause)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// emptyLog is run by the writer between two groups. It waits for nobody.
func (w *writer) emptyLog() {
	defer func() {
		if err := w.raw.unprepared(w.ctx, "PRAGMA busy_timeout="+busyTimeout); err != nil {
			w.logger.Error("set how long to wait for others", "error", err)
		}
	}()
	err := w.raw.unprepared(w.ctx, "PRAGMA busy_timeout=0")
	if err == nil {
		var length int
		// Of a log that was emptied the length is 0.
		length, _, err = w.runCheckpoint("PRAGMA wal_checkpoint(TRUNCATE)")
		if err == nil && length == 0 {
			w.wal = checkpointer{}
		}
	}
	if err != nil {
		w.raw.broken = nil
		w.note(err)
	}
}

// scrubbing is one step, in one transaction.
type scrubbing struct {
	tx       Tx
	pageSize int
	usable   int
	free     map[uint32]bool // pages of the free list that have no content
}

// The kinds of b-tree pages. See https://www.sqlite.org/fileformat2.html
const (
	indexInterior = 2
	tableInterior = 5
	indexLeaf     = 10
	tableLeaf     = 13
	fileHeader    = 100 // bytes at the beginning of page 1
)

func (s *scrubbing) read(ctx context.Context, page int64) ([]byte, error) {
	var data []byte
	err := s.tx.QueryRowContext(ctx, "SELECT data FROM sqlite_dbpage WHERE pgno = ?", page).Scan(&data)
	return data, err
}

func (s *scrubbing) write(ctx context.Context, page int64, data []byte) error {
	_, err := s.tx.ExecContext(ctx, "UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?", data, page)
	return err
}

// begin reads what the file's header says, and the free list. It gives the number of the last page.
func (s *scrubbing) begin(ctx context.Context) (last int64, err error) {
	if err := s.tx.QueryRowContext(ctx, "PRAGMA page_count").Scan(&last); err != nil {
		return 0, err
	}
	header, err := s.read(ctx, 1)
	if err != nil {
		return 0, err
	}
	s.pageSize = len(header)
	s.usable = s.pageSize - int(header[20])
	s.free = make(map[uint32]bool)
	for trunk := binary.BigEndian.Uint32(header[32:]); trunk != 0; {
		data, err := s.read(ctx, int64(trunk))
		if err != nil {
			return 0, err
		}
		count := min(int(binary.BigEndian.Uint32(data[4:])), s.usable/4-2)
		for i := range count {
			s.free[binary.BigEndian.Uint32(data[8+4*i:])] = true
		}
		if blank(data[8+4*count:]) {
			if err := s.write(ctx, int64(trunk), data); err != nil {
				return 0, err
			}
		}
		trunk = binary.BigEndian.Uint32(data)
	}
	return last, nil
}

// pages overwrites what is not used in pages of a range.
func (s *scrubbing) pages(ctx context.Context, from, to int64) error {
	for page := from; page <= to; page++ {
		data, err := s.read(ctx, page)
		if err != nil {
			return err
		}
		var changed bool
		if s.free[uint32(page)] {
			changed = blank(data)
		} else if changed, err = s.tree(ctx, page, data); err != nil {
			return err
		}
		if changed {
			if err := s.write(ctx, page, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// tree overwrites what is not used in a page of a b-tree, and behind the ends of its overflowing cells. A page of another kind stays
// as it is: its first byte is the first of a page's number, which is 0 in every file that is smaller than 128 GiB.
func (s *scrubbing) tree(ctx context.Context, page int64, data []byte) (changed bool, err error) {
	at := 0
	if page == 1 {
		at = fileHeader
	}
	kind := data[at]
	headerSize := 8
	switch kind {
	case indexInterior, tableInterior:
		headerSize = 12
	case indexLeaf, tableLeaf:
	default:
		return false, nil
	}
	cells := int(binary.BigEndian.Uint16(data[at+3:]))
	content := int(binary.BigEndian.Uint16(data[at+5:]))
	if content == 0 {
		content = 1 << 16
	}
	pointers := at + headerSize
	if pointers+2*cells > content || content > s.usable {
		return false, fmt.Errorf("page %d is not as SQLite's file format says", page)
	}
	changed = blank(data[pointers+2*cells : content])
	for block := int(binary.BigEndian.Uint16(data[at+1:])); block != 0; {
		if block+4 > s.usable {
			return false, fmt.Errorf("page %d is not as SQLite's file format says", page)
		}
		next, size := int(binary.BigEndian.Uint16(data[block:])), int(binary.BigEndian.Uint16(data[block+2:]))
		if size < 4 || block+size > s.usable || next != 0 && next <= block {
			return false, fmt.Errorf("page %d is not as SQLite's file format says", page)
		}
		changed = blank(data[block+4:block+size]) || changed
		block = next
	}
	if kind == tableInterior {
		return changed, nil // its cells are numbers
	}
	for i := range cells {
		cell := int(binary.BigEndian.Uint16(data[pointers+2*i:]))
		if err := s.overflow(ctx, kind, data[min(cell, s.usable):s.usable]); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// overflow overwrites what is behind the end of a cell that goes on in other pages.
func (s *scrubbing) overflow(ctx context.Context, kind byte, cell []byte) error {
	at := 0
	if kind == indexInterior {
		at = 4
	}
	payload, n := uvarint(cell[at:])
	at += n
	largest := (s.usable-12)*64/255 - 23
	if kind == tableLeaf {
		_, n = uvarint(cell[at:])
		at += n
		largest = s.usable - 35
	}
	if payload <= int64(largest) {
		return nil
	}
	least := int64((s.usable-12)*32/255 - 23)
	local := least + (payload-least)%int64(s.usable-4)
	if local > int64(largest) {
		local = least
	}
	next := int64(binary.BigEndian.Uint32(cell[at+int(local):]))
	for rest := payload - local; ; rest -= int64(s.usable - 4) {
		if rest > int64(s.usable-4) {
			var data []byte
			data, err := s.read(ctx, next)
			if err != nil {
				return err
			}
			next = int64(binary.BigEndian.Uint32(data))
			continue
		}
		data, err := s.read(ctx, next)
		if err != nil || !blank(data[4+rest:s.usable]) {
			return err
		}
		return s.write(ctx, next, data)
	}
}

// uvarint reads a number of SQLite's: up to eight bytes of seven bits, the highest first, and a ninth of eight.
func uvarint(b []byte) (value int64, length int) {
	for i, c := range b[:min(9, len(b))] {
		if i == 8 {
			return value<<8 | int64(c), 9
		}
		value = value<<7 | int64(c&0x7f)
		if c < 0x80 {
			return value, i + 1
		}
	}
	return value, len(b)
}

var zeros [1 << 16]byte

// blank overwrites bytes with zeros, and reports whether they were not.
func blank(b []byte) bool {
	if bytes.Equal(b, zeros[:len(b)]) {
		return false
	}
	clear(b)
	return true
}

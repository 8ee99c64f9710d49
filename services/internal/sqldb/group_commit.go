package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// maxGroup is how many functions share a transaction at most.
	maxGroup = 256
	// maxGroupAge is the age at which a group takes no further function: a few long ones must not keep the first waiting.
	maxGroupAge = 10 * time.Millisecond
	// maxWaiting is how many functions wait in the queue; further callers wait to get in.
	maxWaiting = 4096
)

// writer owns the one connection of a SQLite store that writes. Its goroutine takes the first waiting function and then, without
// waiting, those that are there by the time it is done with one; runs each in its own savepoint; commits once; and wakes all.
type writer struct {
	ctx     context.Context // values only; it never ends
	conn    *sql.Conn       // for the functions
	raw     *sqliteConn     // the same connection, for BEGIN, COMMIT and what is between
	clock   clock.Clock
	logger  *slog.Logger
	metrics *metrics
	store   engine // what marks the contexts of functions
	wal     checkpointer

	queue    chan *call
	stop     chan struct{} // closed: finish what is queued and end
	stopping sync.Once
	stopped  chan struct{} // closed: the goroutine has ended
	failure  chan struct{} // closed: see DB.Failed
	cause    atomic.Pointer[error]

	members []*call // of the present group, done and waiting for the commit
	begun   bool    // a transaction is open
	undone  uint64  // see DB.Undone; of the writer's goroutine
}

// call is one caller's function on its way through the writer.
type call struct {
	ctx   context.Context
	fn    func(ctx context.Context, tx Tx) error
	state atomic.Int32
	done  chan struct{} // holds one: the answer is in err
	err   error
}

// A call is queued until the writer takes it or its caller leaves it, whichever is first.
const (
	callQueued int32 = iota
	callTaken
	callLeft
)

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// write queues fn and waits for its answer.
func (w *writer) write(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := calls.Get().(*call)
	c.ctx, c.fn, c.err = ctx, fn, nil
	c.state.Store(callQueued)

	select {
	case <-w.stop:
		return ErrClosed
	default:
	}
	select {
	case w.queue <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return ErrClosed
	}

	select {
	case <-c.done:
	case <-ctx.Done():
		if c.state.CompareAndSwap(callQueued, callLeft) {
			return ctx.Err() // the queue still has c: it must not be used again
		}
		<-c.done
	case <-w.stopped:
		if c.state.CompareAndSwap(callQueued, callLeft) {
			return ErrClosed
		}
		<-c.done
	}
	err := c.err
	c.ctx, c.fn, c.err = nil, nil, nil
	calls.Put(c)
	return err
}

func answer(c *call, err error) {
	c.err = err
	c.done <- struct{}{}
}

// run is the writer's goroutine.
func (w *writer) run() {
	ended := false
	defer func() {
		if ended {
			close(w.stopped)
			return
		}
		// A function called runtime.Goexit, as a failed test does. The goroutine cannot be saved, the store can.
		w.abandon(errors.New("a function of the same group ended the writer's goroutine"))
		go w.run()
	}()
	for {
		select {
		case c := <-w.queue:
			w.group(c)
		case <-w.stop:
			for c := w.next(); c != nil; c = w.next() {
				w.group(c)
			}
			ended = true
			return
		}
	}
}

// next is a function that waits, or nil.
func (w *writer) next() *call {
	select {
	case c := <-w.queue:
		return c
	default:
		return nil
	}
}

// group runs first and what waits behind it in one transaction.
func (w *writer) group(first *call) {
	start := w.clock.Now()
	for c := first; c != nil; {
		if c.state.CompareAndSwap(callQueued, callTaken) {
			w.member(c)
		}
		if len(w.members) >= maxGroup || w.clock.Now().Sub(start) >= maxGroupAge {
			break
		}
		c = w.next()
	}
	w.commit()
	w.checkpoint()
}

// member runs one function as a part of the present transaction. After an error, the function has no part in it any more.
func (w *writer) member(c *call) {
	if cause := w.cause.Load(); cause != nil {
		answer(c, unavailable(*cause))
		return
	}
	if !w.begun {
		if err := w.raw.run(w.ctx, "BEGIN IMMEDIATE"); err != nil {
			w.raw.broken = nil
			w.note(err)
			answer(c, err)
			return
		}
		w.begun = true
	}
	// Who is first needs no savepoint: to undo it is to undo the transaction, which has nothing else in it.
	tx := &writerTx{conn: w.conn, raw: w.raw, needsSavepoint: len(w.members) > 0}
	err := w.call(c, tx)
	if w.raw.broken != nil {
		cause := w.raw.broken
		answer(c, unavailable(cause))
		w.abandon(cause)
		return
	}
	if err == nil {
		if tx.savepoint {
			err = w.raw.run(w.ctx, "RELEASE member")
		}
		if err == nil {
			w.members = append(w.members, c)
			return
		}
	}
	if undo := w.undo(tx); undo != nil {
		answer(c, err)
		w.abandon(undo)
		return
	}
	answer(c, err)
}

// call runs the function of c and turns a panic into an error.
func (w *writer) call(c *call, tx *writerTx) (err error) {
	returned := false
	defer func() {
		tx.ended = true
		if !returned {
			value := recover()
			err = &PanicError{Value: value, Stack: debug.Stack()}
			if value == nil {
				// Goexit goes on after this: member does not see err, so the answer is given here.
				w.raw.closeRows()
				answer(c, err)
			}
		}
		if w.raw.closeRows() && err == nil {
			err = errRowsOpen
		}
	}()
	err = c.fn(within(context.WithoutCancel(c.ctx), w.store), tx)
	returned = true
	return err
}

// undo takes back what the last function did.
func (w *writer) undo(tx *writerTx) error {
	w.undone++
	switch {
	case len(w.members) == 0:
		w.begun = false
		return w.raw.run(w.ctx, "ROLLBACK")
	case tx.savepoint:
		if err := w.raw.run(w.ctx, "ROLLBACK TO member"); err != nil {
			return err
		}
		return w.raw.run(w.ctx, "RELEASE member")
	default:
		return nil // it changed nothing
	}
}

// abandon gives up the present transaction. Nothing of it was stored.
func (w *writer) abandon(cause error) {
	w.note(cause)
	w.rollback()
	w.answerAll(unavailable(cause))
}

// rollback ends a transaction that SQLite may have ended itself. If it cannot be ended no other can begin, so the store fails.
func (w *writer) rollback() {
	if !w.begun {
		return
	}
	w.begun = false
	w.undone++
	err := w.raw.run(w.ctx, "ROLLBACK")
	w.raw.broken = nil
	if err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		w.fail(err)
	}
}

// commit makes the present group durable and wakes its callers.
func (w *writer) commit() {
	if !w.begun {
		return
	}
	if len(w.members) == 0 {
		w.rollback()
		return
	}
	err := w.raw.run(w.ctx, "COMMIT")
	w.raw.broken = nil
	if err == nil {
		w.begun = false
		w.metrics.committed(len(w.members))
		w.answerAll(nil)
		return
	}
	if isDiskFailure(err) {
		// The log may hold the commit although the sync failed, and then a restart brings it back.
		w.fail(err)
		w.answerAll(unknownOutcome(err))
		return
	}
	w.rollback()
	w.answerAll(unavailable(err))
}

func (w *writer) answerAll(err error) {
	for i, c := range w.members {
		w.members[i] = nil
		answer(c, err)
	}
	w.members = w.members[:0]
}

// note fails the store if err says that the disk did.
func (w *writer) note(err error) {
	if isDiskFailure(err) {
		w.fail(err)
	}
}

// fail refuses all writes from now on.
func (w *writer) fail(cause error) {
	cause = fmt.Errorf("store has failed, the process must restart: %w", cause)
	if w.cause.CompareAndSwap(nil, &cause) {
		w.logger.Error("store failed", slog.Any("error", cause))
		close(w.failure)
	}
}

// close lets the writer finish and waits for it.
func (w *writer) close() {
	w.stopping.Do(func() { close(w.stop) })
	<-w.stopped
}

// writerTx is what a function sees of the group's transaction.
type writerTx struct {
	conn           *sql.Conn
	raw            *sqliteConn
	needsSavepoint bool
	savepoint      bool // it is open
	ended          bool
}

// prepare opens the savepoint before the first statement that may change something, and takes from the context what could break
// off a statement: that would undo the whole group.
func (t *writerTx) prepare(ctx context.Context, query string) (context.Context, error) {
	if t.ended {
		return ctx, sql.ErrTxDone
	}
	if t.raw.broken != nil {
		return ctx, unavailable(t.raw.broken)
	}
	if ctx.Done() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	if t.needsSavepoint && !t.savepoint && !onlyReads(query) {
		if err := t.raw.run(ctx, "SAVEPOINT member"); err != nil {
			return ctx, err
		}
		t.savepoint = true
	}
	return ctx, nil
}

// onlyReads is true for some of the statements that change nothing.
func onlyReads(query string) bool {
	query = strings.TrimLeft(query, " \t\r\n")
	return len(query) > 6 && strings.EqualFold(query[:6], "SELECT")
}

func (t *writerTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx, err := t.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return t.raw.exec(ctx, query, args)
}

func (t *writerTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx, err := t.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return t.conn.QueryContext(ctx, query, args...)
}

func (t *writerTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	prepared, err := t.prepare(ctx, query)
	if err != nil {
		return refusedRow(ctx, t.conn, err)
	}
	return t.conn.QueryRowContext(prepared, query, args...)
}

// refusedRow is a row whose Scan returns err. Only database/sql can make one, so the query is begun with a context that has ended
// with err, at which the connection looks first.
func refusedRow(ctx context.Context, conn *sql.Conn, err error) *sql.Row {
	refused, cancel := context.WithCancelCause(ctx)
	cancel(err)
	return conn.QueryRowContext(refused, "SELECT 1")
}

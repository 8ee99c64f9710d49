package sqldb

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Batcher runs operations of one kind together: those that come while the store is busy share the next transaction, and the
// statements of it. A statement with many rows costs a fraction of as many statements, so this is what makes a busy store quick; an
// idle one runs each operation at once, alone.
//
// The operations of a batch share their fate only when the store fails. What one operation finds (a lease that is lost) is its own
// result, which run writes into it.
type Batcher[O any] struct {
	db     *DB
	run    func(ctx context.Context, tx Tx, operations []*O) error
	gather time.Duration

	mu        sync.Mutex
	waiting   []*member[O]
	scheduled bool          // a write that will take those that wait is on its way
	busy      bool          // the last batch had more than one operation
	enough    chan struct{} // holds one: enough wait for a batch
}

// enoughToGather is how many operations are not kept waiting for more.
const enoughToGather = 64

// member is one caller's operation on its way through a batch.
type member[O any] struct {
	operation *O
	done      chan error // holds one
	ctx       context.Context
}

// NewBatcher returns a batcher for operations that run executes in one transaction, in the order in which they are given: at least
// one, and at most maxGroup. run writes each operation's result into it. Like every function given to Write it may run more than
// once, and must assign results anew each time. When run fails, and not because the store is unavailable, the batch is undone and
// each operation runs again by itself, in no order, so that a bad one does not spoil the others.
func NewBatcher[O any](db *DB, run func(ctx context.Context, tx Tx, operations []*O) error) *Batcher[O] {
	return &Batcher[O]{db: db, run: run, enough: make(chan struct{}, 1)}
}

// Gather lets a batch wait that long for more operations, as long as the one before it had more than one, and gives the batcher
// back: everybody waits a little longer, and the store does much less for each. On an idle store nobody waits.
func (b *Batcher[O]) Gather(window time.Duration) *Batcher[O] {
	b.gather = window
	return b
}

// Do runs an operation and returns once it is on disk, or has failed. Its result is in the operation. When ctx ends before the
// operation was taken up, Do returns its error, and the operation is not executed; the operation must not be used again then.
func (b *Batcher[O]) Do(ctx context.Context, operation *O) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m := &member[O]{operation: operation, done: make(chan error, 1), ctx: ctx}
	b.mu.Lock()
	b.waiting = append(b.waiting, m)
	first := !b.scheduled
	b.scheduled = true
	wait := first && b.gather > 0 && b.busy
	if len(b.waiting) == enoughToGather {
		select {
		case b.enough <- struct{}{}:
		default:
		}
	}
	b.mu.Unlock()
	if first {
		go func() {
			if wait {
				b.awaitMore()
			}
			b.write(context.WithoutCancel(ctx))
		}()
	}
	select {
	case err := <-m.done:
		return err
	case <-ctx.Done():
		if b.leave(m) {
			return ctx.Err()
		}
		return <-m.done
	}
}

// awaitMore waits until enough operations wait, or long enough.
func (b *Batcher[O]) awaitMore() {
	timer := b.db.clock.NewTimer(b.gather)
	defer timer.Stop()
	select {
	case <-b.enough:
	case <-timer.C():
	}
}

// leave takes an operation out of those that wait; false when it was taken up.
func (b *Batcher[O]) leave(m *member[O]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range b.waiting {
		if other == m {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// write runs one batch: whoever waits at the moment when the store takes it up.
func (b *Batcher[O]) write(ctx context.Context) {
	var (
		batch      []*member[O]
		operations []*O
		taken      bool
	)
	take := func() {
		if taken {
			return // the transaction runs again
		}
		taken = true
		batch = b.take()
		operations = make([]*O, len(batch))
		for i, m := range batch {
			operations[i] = m.operation
		}
	}
	err := b.db.Write(ctx, func(ctx context.Context, tx Tx) error {
		take()
		if len(operations) == 0 {
			return nil
		}
		return b.run(ctx, tx, operations)
	})
	take() // the store did not come so far
	if err != nil && len(batch) > 1 && !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUnknownOutcome) {
		b.writeEach(batch)
		return
	}
	for _, m := range batch {
		m.done <- err
	}
}

// take gives those that wait their batch, and schedules the next when they are too many for one.
func (b *Batcher[O]) take() []*member[O] {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = len(b.waiting) > 1
	select { // what was enough for this batch is not for the next
	case <-b.enough:
	default:
	}
	if len(b.waiting) <= maxGroup {
		batch := b.waiting
		b.waiting, b.scheduled = nil, false
		return batch
	}
	batch := b.waiting[:maxGroup:maxGroup]
	b.waiting = append([]*member[O](nil), b.waiting[maxGroup:]...)
	go b.write(context.WithoutCancel(b.waiting[0].ctx))
	return batch
}

// writeEach runs each operation in a function of its own, all at once, so that on SQLite they share a commit nevertheless.
func (b *Batcher[O]) writeEach(batch []*member[O]) {
	for _, m := range batch {
		go func() {
			m.done <- b.db.Write(context.WithoutCancel(m.ctx), func(ctx context.Context, tx Tx) error {
				return b.run(ctx, tx, []*O{m.operation})
			})
		}()
	}
}

package store

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// The three writes that every message makes run in batches on SQLite: what
// comes while the disk is busy shares not only a transaction but statements of
// many rows, which is several times cheaper than as many statements. The
// operations of a batch know nothing of each other: a lease that one has lost
// is its own affair.

// acceptance is a message to be stored, without an idempotency key.
type acceptance struct {
	message *Message
	hold    time.Time

	accepted Accepted
	err      error
}

// finish is a turn to be finished.
type finish struct {
	turn *Turn
	now  time.Time

	finished Finished
	err      error
}

// settlement is the head of a lane to be settled.
type settlement struct {
	delivery *Delivery
	epoch    int64
	now      time.Time

	settled Settled
	err     error
}

var (
	sqliteAcceptMessages = newTraced(`message (instance, channel_id, client_identifier, seq, id, text, postback, context, create_time`,
		"?", "?", "?", "?", "?", "?", "?", "?", "?")

	sqliteInsertDeliveries = newTraced(
		`delivery (entry, previous_entry, instance, endpoint_id, interaction_id, sequence, id, contact_id, body, state, attempt_count, create_time`,
		"?", "?", "?", "?", "?", "?", "?", "?", "?", "'PENDING'", "0", "?")

	sqliteSettleDeliveries = sqldb.NewSQLiteBulk(`
UPDATE delivery SET state = v.column3, attempt_count = v.column4, attempts = v.column5, settle_time = v.column6
FROM (VALUES `, []string{"?", "?", "?", "?", "?", "?"}, `) AS v
WHERE delivery.instance = v.column1 AND delivery.id = v.column2`)
)

// traced is an INSERT in two forms: with a trace for each row, and without. A
// parameter costs more than a look whether there is a trace, and mostly there
// is none.
type traced struct{ with, without *sqldb.Bulk }

func newTraced(into string, columns ...string) traced {
	return traced{
		with:    sqldb.NewSQLiteBulk("INSERT INTO "+into+", trace) VALUES ", append(slices.Clone(columns), "?"), ""),
		without: sqldb.NewSQLiteBulk("INSERT INTO "+into+") VALUES ", columns, ""),
	}
}

// insert inserts items. values gives an item's parameters but the trace, which
// trace gives.
func insert[T any](
	ctx context.Context, tx sqldb.Tx, statement traced, items []T, trace func(T) string, values func(args []any, item T) []any,
) error {
	if !slices.ContainsFunc(items, func(item T) bool { return trace(item) != "" }) {
		return execute(ctx, tx, statement.without, items, values)
	}
	return execute(ctx, tx, statement.with, items, func(args []any, item T) []any {
		return append(values(args, item), optional(trace(item)))
	})
}

// argumentLists keeps the lists of execute, which are long, and needed only
// until the statement has run.
var argumentLists = sync.Pool{New: func() any { return new([]any) }}

// execute runs a bulk statement over items.
func execute[T any](ctx context.Context, tx sqldb.Tx, statement *sqldb.Bulk, items []T, values func(args []any, item T) []any) error {
	if len(items) == 0 {
		return nil
	}
	list := argumentLists.Get().(*[]any)
	defer argumentLists.Put(list)
	return statement.Split(len(items), func(query string, from, to int) error {
		args := (*list)[:0]
		for _, item := range items[from:to] {
			args = values(args, item)
		}
		_, err := tx.ExecContext(ctx, query, args...)
		clear(args)
		*list = args
		return err
	})
}

func (a *acceptance) thread() [3]string { return a.message.columns() }

func (f *finish) thread() [3]string { return f.turn.columns() }

func (f *finish) lane() [3]string { return f.turn.lane().columns() }

func (s *settlement) lane() [3]string { return s.delivery.columns() }

// living looks for endpoints, for each once.
type living map[Endpoint]bool

func (l living) exists(ctx context.Context, tx sqldb.Tx, e Endpoint) (bool, error) {
	exists, known := l[e]
	if known {
		return exists, nil
	}
	exists, err := alive(ctx, tx, e)
	l[e] = exists
	return exists, err
}

func (q *queues) acceptAll(ctx context.Context, tx sqldb.Tx, batch []*acceptance) error {
	q.refresh()
	endpoints := living{}
	stored := make([]*acceptance, 0, len(batch))
	for _, a := range batch {
		a.accepted, a.err = Accepted{}, ErrChannelNotFound
		exists, err := endpoints.exists(ctx, tx, Endpoint{Instance: a.message.Instance, ID: a.message.ChannelID})
		if err != nil {
			return err
		}
		if exists {
			stored = append(stored, a)
		}
	}
	if err := load(ctx, tx, &q.threads, stored, (*acceptance).thread); err != nil {
		return err
	}
	for _, a := range stored {
		p := q.threads.known[a.thread()]
		if p.last == 0 {
			// There may have been a thread of this name, which was erased: whoever
			// held that must not take this one for it.
			p.epoch = sqldb.Micros(a.message.CreateTime)
		}
		held := p.extend(1, a.hold, sqldb.Micros(a.message.CreateTime))
		if !held {
			m := *a.message
			m.Seq = p.last
			p.messages.add(p.last, m, len(m.Text)+len(m.Context), &q.unread)
		}
		a.accepted, a.err = Accepted{MessageID: a.message.ID, Held: Held{Seq: p.last, Epoch: p.epoch, OK: held}}, nil
	}
	if err := save(ctx, tx, &q.threads, stored, (*acceptance).thread, threadValues); err != nil {
		return err
	}
	trace := func(a *acceptance) string { return a.message.Trace }
	return insert(ctx, tx, sqliteAcceptMessages, stored, trace, func(args []any, a *acceptance) []any {
		m := a.message
		return append(args, m.Instance, m.ChannelID, m.ClientIdentifier, a.accepted.Held.Seq, m.ID, m.Text, m.Postback,
			m.Context, sqldb.Micros(m.CreateTime))
	})
}

// outgoing is one delivery to be stored.
type outgoing struct {
	turn            *finish
	index           int
	sequence        int64
	entry, previous int64
}

func (q *queues) finishAll(ctx context.Context, tx sqldb.Tx, batch []*finish) error {
	q.refresh()
	if err := load(ctx, tx, &q.threads, batch, (*finish).thread); err != nil {
		return err
	}
	endpoints := living{}
	answered := make([]*finish, 0, len(batch))
	for _, f := range batch {
		f.finished, f.err = Finished{}, ErrLeaseLost
		p := q.threads.known[f.thread()]
		if !p.advance(f.turn.Epoch, f.turn.Seq) {
			continue
		}
		f.finished.More, f.err = p.last > p.done, nil
		f.finished.Pending = p.messages.behind(p.done, &q.unread)
		if len(f.turn.Answer) == 0 {
			continue
		}
		exists, err := endpoints.exists(ctx, tx, Endpoint{Instance: f.turn.Instance, ID: f.turn.ChannelID})
		if err != nil {
			return err
		}
		if exists { // else nobody waits for the answer
			answered = append(answered, f)
		}
	}
	if err := save(ctx, tx, &q.threads, batch, (*finish).thread, threadValues); err != nil {
		return err
	}
	if err := load(ctx, tx, &q.lanes, answered, (*finish).lane); err != nil {
		return err
	}
	if err := q.numbering.load(ctx, tx); err != nil {
		return err
	}
	deliveries := make([]outgoing, 0, len(answered))
	for _, f := range answered {
		p := q.lanes.known[f.lane()]
		p.extend(len(f.turn.Answer), f.turn.HoldLane, sqldb.Micros(f.now))
		f.queued(p.last, p.done, p.epoch)
		if !f.finished.LaneHeld {
			for _, d := range f.pending() {
				p.deliveries.add(d.Sequence, d, len(d.Body), &q.unread)
			}
		}
		for i := range f.turn.Answer {
			entry, previous := q.numbering.next(p)
			deliveries = append(deliveries, outgoing{f, i, f.finished.FirstSequence + int64(i), entry, previous})
		}
	}
	if err := save(ctx, tx, &q.lanes, answered, (*finish).lane, laneValues); err != nil {
		return err
	}
	trace := func(o outgoing) string { return o.turn.turn.Trace }
	return insert(ctx, tx, sqliteInsertDeliveries, deliveries, trace, func(args []any, o outgoing) []any {
		turn, answer := o.turn.turn, &o.turn.turn.Answer[o.index]
		return append(args, o.entry, o.previous, turn.Instance, turn.ChannelID, turn.InteractionID, o.sequence, answer.ID, turn.ContactID, answer.Body,
			sqldb.Micros(o.turn.now))
	})
}

func (q *queues) settleAll(ctx context.Context, tx sqldb.Tx, batch []*settlement) error {
	q.refresh()
	if err := load(ctx, tx, &q.lanes, batch, (*settlement).lane); err != nil {
		return err
	}
	settled := make([]*settlement, 0, len(batch))
	for _, s := range batch {
		s.settled, s.err = Settled{}, ErrLeaseLost
		p := q.lanes.known[s.lane()]
		if p.advance(s.epoch, s.delivery.Sequence) {
			s.settled, s.err = Settled{More: p.last > p.done, Pending: p.deliveries.behind(p.done, &q.unread)}, nil
			settled = append(settled, s)
		}
	}
	if err := save(ctx, tx, &q.lanes, settled, (*settlement).lane, laneValues); err != nil {
		return err
	}
	return execute(ctx, tx, sqliteSettleDeliveries, settled, func(args []any, s *settlement) []any {
		d := s.delivery
		return append(args, d.Instance, d.ID, string(d.State), d.AttemptCount,
			sql.NullString{String: string(d.Attempts), Valid: d.Attempts != nil}, sqldb.Micros(s.now))
	})
}

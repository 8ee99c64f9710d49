package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// maxKnown is how many threads, and how many lanes, are remembered: some
// megabytes. When there are more, all are forgotten.
const maxKnown = 16 << 10

// queues remembers where threads and lanes of a SQLite store stand. Nobody else
// writes them, so what the last writes made of them is what is in the tables,
// and a message need not read on each of its steps what the step before wrote.
//
// It is of the writer: only functions of Write may use it. Whatever else
// changes threads or lanes makes it forget them (see [remembering]), and so
// does all that is undone.
type queues struct {
	db     *sqldb.DB
	undone uint64

	threads, lanes memory
	numbering      numbering
	unread         int // how many entries are remembered of all of them
}

// memory is what is remembered of one table. CROSS JOIN keeps the list of
// values the outer loop.
type memory struct {
	read, write *sqldb.Bulk
	known       map[[3]string]*position
}

// position is where a thread or a lane stands: a row of either table, without
// its key. A lane has neither failures nor strikes, and only a lane has a last
// entry.
type position struct {
	last, done, epoch, lease, next, failures, strikes, entry int64

	changed bool // and not written yet

	// Of a thread it is messages, of a lane deliveries.
	messages   unread[Message]
	deliveries unread[Delivery]
}

// queuesOf is the one memory of an open store, however many use it.
func queuesOf(db *sqldb.DB) *queues {
	type key struct{}
	return db.Keep(key{}, func() any { return newQueues(db) }).(*queues)
}

func newQueues(db *sqldb.DB) *queues {
	key := []string{"?", "?", "?"}
	values := []string{"?", "?", "?", "?", "?", "?", "?", "?"}
	return &queues{
		db: db,
		threads: memory{
			known: make(map[[3]string]*position),
			read: sqldb.NewSQLiteBulk(`
SELECT instance, channel_id, client_identifier, last_seq, done_seq, epoch, lease_until, next_time, failures, strikes, 0
FROM (VALUES `, key, `) AS v CROSS JOIN thread
WHERE instance = v.column1 AND channel_id = v.column2 AND client_identifier = v.column3`),
			write: sqldb.NewSQLiteBulk(`
INSERT INTO thread (instance, channel_id, client_identifier, last_seq, done_seq, epoch, lease_until, next_time, failures, strikes) VALUES `,
				append(values, "?", "?"), `
ON CONFLICT (instance, channel_id, client_identifier) DO UPDATE SET
    last_seq = excluded.last_seq, done_seq = excluded.done_seq, epoch = excluded.epoch, lease_until = excluded.lease_until,
    next_time = excluded.next_time, failures = excluded.failures, strikes = excluded.strikes`),
		},
		lanes: memory{
			known: make(map[[3]string]*position),
			read: sqldb.NewSQLiteBulk(`
SELECT instance, endpoint_id, interaction_id, last_seq, settled_seq, epoch, lease_until, next_time, 0, 0, last_entry
FROM (VALUES `, key, `) AS v CROSS JOIN lane
WHERE instance = v.column1 AND endpoint_id = v.column2 AND interaction_id = v.column3`),
			write: sqldb.NewSQLiteBulk(`
INSERT INTO lane (instance, endpoint_id, interaction_id, last_seq, settled_seq, epoch, lease_until, next_time, last_entry) VALUES `,
				append(values, "?"), `
ON CONFLICT (instance, endpoint_id, interaction_id) DO UPDATE SET
    last_seq = excluded.last_seq, settled_seq = excluded.settled_seq, epoch = excluded.epoch, lease_until = excluded.lease_until,
    next_time = excluded.next_time, last_entry = excluded.last_entry`),
		},
	}
}

// forget forgets everything.
func (q *queues) forget() {
	clear(q.threads.known)
	clear(q.lanes.known)
	q.unread = 0
}

// refresh forgets what may not be so any more. Whoever uses the memory calls it
// first.
func (q *queues) refresh() {
	if undone := q.db.Undone(); undone != q.undone || len(q.threads.known) > maxKnown || len(q.lanes.known) > maxKnown {
		q.undone = undone
		q.forget()
	}
}

// load makes the threads or lanes of items known. One that does not exist
// stands at zero.
func load[T any](ctx context.Context, tx sqldb.Tx, m *memory, items []T, key func(T) [3]string) error {
	var args []any
	for _, item := range items {
		k := key(item)
		if m.known[k] == nil {
			m.known[k] = &position{}
			args = append(args, k[0], k[1], k[2])
		}
	}
	return m.read.Split(len(args)/3, func(query string, from, to int) error {
		rows, err := tx.QueryContext(ctx, query, args[3*from:3*to]...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var (
				k [3]string
				p position
			)
			err := rows.Scan(&k[0], &k[1], &k[2], &p.last, &p.done, &p.epoch, &p.lease, &p.next, &p.failures, &p.strikes, &p.entry)
			if err != nil {
				return err
			}
			*m.known[k] = p
		}
		return rows.Err()
	})
}

// save writes the threads or lanes of items that changed.
func save[T any](ctx context.Context, tx sqldb.Tx, m *memory, items []T, key func(T) [3]string, values func(args []any, p *position) []any) error {
	type row struct {
		key [3]string
		*position
	}
	changed := make([]row, 0, len(items))
	for _, item := range items {
		k := key(item)
		if p := m.known[k]; p.changed {
			p.changed = false
			changed = append(changed, row{k, p})
		}
	}
	return execute(ctx, tx, m.write, changed, func(args []any, r row) []any {
		return values(append(args, r.key[0], r.key[1], r.key[2], r.last, r.done, r.epoch, r.lease, r.next), r.position)
	})
}

func threadValues(args []any, p *position) []any { return append(args, p.failures, p.strikes) }

func laneValues(args []any, p *position) []any { return append(args, p.entry) }

// numbering gives the deliveries of a store their entries, in the order in which they come.
// What is deleted may leave its number to others when the process starts anew:
// a number behind which nothing is stored any more.
type numbering struct {
	known bool
	last  int64
}

func (n *numbering) load(ctx context.Context, tx sqldb.Tx) error {
	if n.known {
		return nil
	}
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(max(entry), 0) FROM delivery`).Scan(&n.last)
	n.known = err == nil
	return err
}

// next gives the next delivery of a lane its number, and that of the one before it.
func (n *numbering) next(lane *position) (entry, previous int64) {
	n.last++
	entry, previous = n.last, lane.entry
	if previous >= entry {
		previous = 0 // it was deleted, and this one has got its number
	}
	lane.entry, lane.changed = entry, true
	return entry, previous
}

// extend adds entries. An idle queue is due at once, or held if a lease until
// hold is asked for; it reports whether it is held then.
func (p *position) extend(entries int, hold time.Time, now int64) (held bool) {
	if p.done == p.last {
		var raise int64
		raise, p.lease, p.next = holding(hold, now)
		p.epoch += raise
		held = raise > 0
	}
	p.last += int64(entries)
	p.changed = true
	return held
}

// advance ends the head, which is number seq, for whoever holds the lease of
// an epoch. It reports false, and changes nothing, if the lease was lost or
// another is the head.
func (p *position) advance(epoch, seq int64) bool {
	if p.lease == 0 || p.epoch != epoch || p.done != seq-1 || p.last < seq {
		return false
	}
	p.done, p.failures, p.strikes, p.changed = seq, 0, 0, true
	if p.last == seq {
		p.lease = 0
	}
	return true
}

// taken notes that a claim has taken a thread or a lane.
func (m *memory) taken(key [3]string, epoch int64, until time.Time) {
	if p := m.known[key]; p != nil {
		p.epoch, p.lease, p.next = epoch, sqldb.Micros(until), sqldb.Micros(until)
	}
}

// remembering is the database for all that changes threads or lanes in its own
// way, or something else: what is remembered of them is forgotten then.
type remembering struct {
	*sqldb.DB
	queues *queues
}

// Write is that of [sqldb.DB].
func (r remembering) Write(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error {
	return r.DB.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		r.queues.forget()
		return fn(ctx, tx)
	})
}

// Erase is that of [sqldb.DB].
func (r remembering) Erase(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error {
	return r.DB.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		r.queues.forget()
		return fn(ctx, tx)
	})
}

// Exec1 is that of [sqldb.DB].
func (r remembering) Exec1(ctx context.Context, query string, args ...any) (result sql.Result, err error) {
	err = r.Write(ctx, func(ctx context.Context, tx sqldb.Tx) (err error) {
		result, err = tx.ExecContext(ctx, query, args...)
		return err
	})
	return result, err
}

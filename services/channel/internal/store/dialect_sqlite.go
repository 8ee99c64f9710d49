package store

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// sqliteDialect relies on the one writer: within a transaction nobody else is.
type sqliteDialect struct {
	queues   *queues
	accepts  *sqldb.Batcher[acceptance]
	finishes *sqldb.Batcher[finish]
	settles  *sqldb.Batcher[settlement]
}

// Under load messages wait that long for others to share a commit with, and
// results of the background longer: nobody waits for those.
const (
	gatherMessages = 3 * time.Millisecond
	gatherResults  = 6 * time.Millisecond
)

func newSQLiteDialect(db *sqldb.DB) sqliteDialect {
	q := queuesOf(db)
	return sqliteDialect{
		queues:   q,
		accepts:  sqldb.NewBatcher(db, q.acceptAll).Gather(gatherMessages),
		finishes: sqldb.NewBatcher(db, q.finishAll).Gather(gatherResults),
		settles:  sqldb.NewBatcher(db, q.settleAll).Gather(gatherResults),
	}
}

// accept stores a message that has a key alone: its key may be known, and then
// it is answered from within the transaction, for the first message may be in
// the same group, and neither is answered before both are on disk. What people
// say comes alone too, so that the batches need not know of it.
func (d sqliteDialect) accept(ctx context.Context, db *sqldb.DB, m *Message, key *Key, hold time.Time) (Accepted, error) {
	a := &acceptance{message: m, hold: hold}
	if key == nil && m.ReplyTo == "" {
		if err := d.accepts.Do(ctx, a); err != nil {
			return Accepted{}, err
		}
		return a.accepted, a.err
	}
	var accepted Accepted
	err := db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if key != nil {
			taken, err := takeKey(ctx, tx, m.Instance, key, m.CreateTime)
			if err != nil {
				return err
			}
			if !taken {
				accepted, err = replayed(ctx, tx, m, key)
				return err
			}
		}
		if err := d.queues.acceptAll(ctx, tx, []*acceptance{a}); err != nil {
			return err
		}
		accepted = a.accepted
		if a.err != nil || m.ReplyTo == "" {
			return a.err
		}
		return markReply(ctx, tx, m, accepted.Held.Seq)
	})
	return accepted, err
}

func (d sqliteDialect) finishTurn(ctx context.Context, _ *sqldb.DB, turn *Turn, now time.Time) (Finished, error) {
	f := &finish{turn: turn, now: now}
	if err := d.finishes.Do(ctx, f); err != nil {
		return Finished{}, err
	}
	return f.finished, f.err
}

func (d sqliteDialect) settle(ctx context.Context, _ *sqldb.DB, delivery *Delivery, epoch int64, now time.Time) (Settled, error) {
	s := &settlement{delivery: delivery, epoch: epoch, now: now}
	if err := d.settles.Do(ctx, s); err != nil {
		return Settled{}, err
	}
	return s.settled, s.err
}

// holding gives what an idle queue's epoch is raised by, the lease's end and
// the next time, with or without a lease until hold.
func holding(hold time.Time, now int64) (raise, lease, next int64) {
	if hold.IsZero() {
		return 0, 0, now
	}
	return 1, sqldb.Micros(hold), sqldb.Micros(hold)
}

// others makes the batches forget what they remember whenever something else is written.
func (d sqliteDialect) others(db *sqldb.DB) database { return remembering{db, d.queues} }

func (d sqliteDialect) tookThreads(taken []Thread, until time.Time) {
	d.queues.refresh()
	for i := range taken {
		d.queues.threads.taken(taken[i].columns(), taken[i].Epoch, until)
	}
}

func (d sqliteDialect) tookLanes(taken []Lane, until time.Time) {
	d.queues.refresh()
	for i := range taken {
		d.queues.lanes.taken(taken[i].columns(), taken[i].Epoch, until)
	}
}

func (sqliteDialect) bulk(head string, columns []string, tail string) *sqldb.Bulk {
	return sqldb.NewSQLiteBulk(head, columns, tail)
}

// holder is nobody: there is one process.
func (sqliteDialect) holder() []any { return nil }

func (sqliteDialect) claimThreads() string {
	return `
UPDATE thread SET epoch = epoch + 1, lease_until = $3, next_time = $3
WHERE (instance, channel_id, client_identifier) IN (
    SELECT instance, channel_id, client_identifier FROM thread INDEXED BY thread_pending
    WHERE instance = $1 AND done_seq < last_seq AND next_time <= $2
    ORDER BY next_time LIMIT CAST($4 AS BIGINT) + 0)
RETURNING ` + threadColumns
}

func (sqliteDialect) claimLanes() string {
	return `
UPDATE lane SET epoch = epoch + 1, lease_until = $4, next_time = $4
WHERE (instance, endpoint_id, interaction_id) IN (
    SELECT instance, endpoint_id, interaction_id FROM lane INDEXED BY lane_pending
    WHERE instance = $1 AND endpoint_id = $2 AND settled_seq < last_seq AND next_time <= $3
    ORDER BY next_time LIMIT CAST($5 AS BIGINT) + 0)
RETURNING ` + laneColumns
}

func (sqliteDialect) claimRedeliveries() string {
	return `
UPDATE redelivery_lane SET epoch = epoch + 1, lease_until = $4, next_time = $4
WHERE (instance, endpoint_id, interaction_id) IN (
    SELECT instance, endpoint_id, interaction_id FROM redelivery_lane INDEXED BY redelivery_lane_pending
    WHERE instance = $1 AND endpoint_id = $2 AND waiting > 0 AND next_time <= $3
    ORDER BY next_time LIMIT CAST($5 AS BIGINT) + 0)
RETURNING ` + redeliveryColumns
}

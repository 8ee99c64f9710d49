package store

import (
	"context"
	"database/sql"
	"slices"
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

	more bool
	err  error
}

// In the statements below CROSS JOIN keeps the list of values the outer loop,
// from which the tables are searched by their keys.
var (
	sqliteAcceptThreads = sqldb.NewSQLiteBulk(`
INSERT INTO thread (instance, channel_id, client_identifier, last_seq, done_seq, epoch, lease_until, failures, strikes, next_time)
SELECT v.column1, v.column2, v.column3, 1, 0, v.column4, v.column5, 0, 0, v.column6
FROM (VALUES `, []string{"?", "?", "?", "?", "?", "?"}, `) AS v CROSS JOIN channel
WHERE channel.instance = v.column1 AND channel.id = v.column2 AND channel.delete_time IS NULL`+acceptThreadConflict+`
RETURNING instance, channel_id, client_identifier, last_seq, done_seq, epoch`)

	sqliteAcceptMessages = sqldb.NewSQLiteBulk(`
INSERT INTO message (instance, channel_id, client_identifier, seq, id, text, postback, create_time) VALUES `,
		[]string{"?", "?", "?", "?", "?", "?", "?", "?"}, ``)

	sqliteFinishThreads = sqldb.NewSQLiteBulk(`
UPDATE thread SET done_seq = v.column5, failures = 0, strikes = 0,
    lease_until = CASE WHEN thread.last_seq = v.column5 THEN 0 ELSE thread.lease_until END
FROM (VALUES `, []string{"?", "?", "?", "?", "?"}, `) AS v
WHERE thread.instance = v.column1 AND thread.channel_id = v.column2 AND thread.client_identifier = v.column3
  AND thread.epoch = v.column4 AND thread.done_seq = v.column5 - 1 AND thread.lease_until > 0
RETURNING instance, channel_id, client_identifier, last_seq, done_seq, epoch`)

	sqliteExtendLanes = sqldb.NewSQLiteBulk(`
INSERT INTO lane (instance, endpoint_id, interaction_id, last_seq, settled_seq, epoch, lease_until, next_time)
SELECT v.column1, v.column2, v.column3, v.column4, 0, v.column5, v.column6, v.column7
FROM (VALUES `, []string{"?", "?", "?", "?", "?", "?", "?"}, `) AS v CROSS JOIN channel
WHERE channel.instance = v.column1 AND channel.id = v.column2 AND channel.delete_time IS NULL`+extendLaneConflict+`
RETURNING instance, endpoint_id, interaction_id, last_seq, settled_seq, epoch`)

	sqliteInsertDeliveries = sqldb.NewSQLiteBulk(`
INSERT INTO delivery (instance, endpoint_id, interaction_id, sequence, id, contact_id, body, state, attempt_count, create_time) VALUES `,
		[]string{"?", "?", "?", "?", "?", "?", "?", "'PENDING'", "0", "?"}, ``)

	sqliteSettleLanes = sqldb.NewSQLiteBulk(`
UPDATE lane SET settled_seq = v.column5, lease_until = CASE WHEN lane.last_seq = v.column5 THEN 0 ELSE lane.lease_until END
FROM (VALUES `, []string{"?", "?", "?", "?", "?"}, `) AS v
WHERE lane.instance = v.column1 AND lane.endpoint_id = v.column2 AND lane.interaction_id = v.column3
  AND lane.epoch = v.column4 AND lane.settled_seq = v.column5 - 1 AND lane.lease_until > 0
RETURNING instance, endpoint_id, interaction_id, last_seq, settled_seq, epoch`)

	sqliteSettleDeliveries = sqldb.NewSQLiteBulk(`
UPDATE delivery SET state = v.column5, attempt_count = v.column6, attempts = v.column7, settle_time = v.column8
FROM (VALUES `, []string{"?", "?", "?", "?", "?", "?", "?", "?"}, `) AS v
WHERE delivery.instance = v.column1 AND delivery.endpoint_id = v.column2 AND delivery.interaction_id = v.column3
  AND delivery.sequence = v.column4`)
)

// position is where a thread or a lane stands after a statement.
type position struct {
	key               [3]string
	last, done, epoch int64
}

// positions runs a bulk statement over items and gives each item the position
// of its thread or lane. An item whose row does not come back gets none; of
// items of one thread or lane the earlier gets the lower number.
func positions[T any](
	ctx context.Context, tx sqldb.Tx, statement *sqldb.Bulk, items []T, key func(T) [3]string, values func(args []any, item T) []any,
	found func(item T, at position),
) error {
	return statement.Split(len(items), func(query string, from, to int) error {
		part := items[from:to]
		var args []any
		for _, item := range part {
			args = values(args, item)
		}
		rows, err := tx.QueryContext(ctx, query, args...)
		returned, err := collect(rows, err, func(p *position) []any {
			return []any{&p.key[0], &p.key[1], &p.key[2], &p.last, &p.done, &p.epoch}
		})
		if err != nil {
			return err
		}
		slices.SortFunc(returned, func(a, b position) int { return int(a.last - b.last) })
		byKey := make(map[[3]string][]position, len(returned))
		for _, p := range returned {
			byKey[p.key] = append(byKey[p.key], p)
		}
		for _, item := range part {
			k := key(item)
			if left := byKey[k]; len(left) > 0 {
				byKey[k] = left[1:]
				found(item, left[0])
			}
		}
		return nil
	})
}

// execute runs a bulk statement over items.
func execute[T any](ctx context.Context, tx sqldb.Tx, statement *sqldb.Bulk, items []T, values func(args []any, item T) []any) error {
	return statement.Split(len(items), func(query string, from, to int) error {
		var args []any
		for _, item := range items[from:to] {
			args = values(args, item)
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

func acceptAll(ctx context.Context, tx sqldb.Tx, batch []*acceptance) error {
	for _, a := range batch {
		a.accepted, a.err = Accepted{}, ErrChannelNotFound
	}
	var stored []*acceptance
	err := positions(ctx, tx, sqliteAcceptThreads, batch,
		func(a *acceptance) [3]string { return a.message.columns() },
		func(args []any, a *acceptance) []any {
			raise, lease, next := holding(a.hold, sqldb.Micros(a.message.CreateTime))
			return append(args, a.message.Instance, a.message.ChannelID, a.message.ClientIdentifier, raise, lease, next)
		},
		func(a *acceptance, at position) {
			held := Held{Seq: at.last, Epoch: at.epoch, OK: !a.hold.IsZero() && at.done == at.last-1}
			a.accepted, a.err = Accepted{MessageID: a.message.ID, Held: held}, nil
			stored = append(stored, a)
		})
	if err != nil {
		return err
	}
	return execute(ctx, tx, sqliteAcceptMessages, stored, func(args []any, a *acceptance) []any {
		m := a.message
		return append(args, m.Instance, m.ChannelID, m.ClientIdentifier, a.accepted.Held.Seq, m.ID, m.Text, m.Postback,
			sqldb.Micros(m.CreateTime))
	})
}

// outgoing is one delivery to be stored.
type outgoing struct {
	turn     *finish
	index    int
	sequence int64
}

func finishAll(ctx context.Context, tx sqldb.Tx, batch []*finish) error {
	for _, f := range batch {
		f.finished, f.err = Finished{}, ErrLeaseLost
	}
	var answered []*finish
	err := positions(ctx, tx, sqliteFinishThreads, batch,
		func(f *finish) [3]string { return f.turn.columns() },
		func(args []any, f *finish) []any {
			return append(args, f.turn.Instance, f.turn.ChannelID, f.turn.ClientIdentifier, f.turn.Epoch, f.turn.Seq)
		},
		func(f *finish, at position) {
			if at.epoch != f.turn.Epoch || at.done != f.turn.Seq {
				return // the row is another's, who held the thread later
			}
			f.finished.More, f.err = at.last > f.turn.Seq, nil
			if len(f.turn.Answer) > 0 {
				answered = append(answered, f)
			}
		})
	if err != nil {
		return err
	}
	var deliveries []outgoing
	err = positions(ctx, tx, sqliteExtendLanes, answered,
		func(f *finish) [3]string { return f.turn.lane().columns() },
		func(args []any, f *finish) []any {
			raise, lease, next := holding(f.turn.HoldLane, sqldb.Micros(f.now))
			return append(args, f.turn.Instance, f.turn.ChannelID, f.turn.InteractionID, len(f.turn.Answer), raise, lease, next)
		},
		func(f *finish, at position) {
			f.queued(at.last, at.done, at.epoch)
			for i := range f.turn.Answer {
				deliveries = append(deliveries, outgoing{turn: f, index: i, sequence: f.finished.FirstSequence + int64(i)})
			}
		})
	if err != nil {
		return err
	}
	return execute(ctx, tx, sqliteInsertDeliveries, deliveries, func(args []any, o outgoing) []any {
		turn, answer := o.turn.turn, &o.turn.turn.Answer[o.index]
		return append(args, turn.Instance, turn.ChannelID, turn.InteractionID, o.sequence, answer.ID, turn.ContactID, answer.Body,
			sqldb.Micros(o.turn.now))
	})
}

func settleAll(ctx context.Context, tx sqldb.Tx, batch []*settlement) error {
	for _, s := range batch {
		s.more, s.err = false, ErrLeaseLost
	}
	var settled []*settlement
	err := positions(ctx, tx, sqliteSettleLanes, batch,
		func(s *settlement) [3]string { return s.delivery.columns() },
		func(args []any, s *settlement) []any {
			return append(args, s.delivery.Instance, s.delivery.EndpointID, s.delivery.InteractionID, s.epoch, s.delivery.Sequence)
		},
		func(s *settlement, at position) {
			if at.epoch != s.epoch || at.done != s.delivery.Sequence {
				return // the row is another's, who held the lane later
			}
			s.more, s.err = at.last > s.delivery.Sequence, nil
			settled = append(settled, s)
		})
	if err != nil {
		return err
	}
	return execute(ctx, tx, sqliteSettleDeliveries, settled, func(args []any, s *settlement) []any {
		d := s.delivery
		return append(args, d.Instance, d.EndpointID, d.InteractionID, d.Sequence, string(d.State), d.AttemptCount,
			sql.NullString{String: string(d.Attempts), Valid: d.Attempts != nil}, sqldb.Micros(s.now))
	})
}

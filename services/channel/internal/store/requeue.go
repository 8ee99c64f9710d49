package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// ErrNotRetryable says that a delivery cannot be sent again: it was cancelled,
// or its endpoint is deleted.
var ErrNotRetryable = errors.New("the delivery cannot be sent again")

// replayBatch is how many deliveries one transaction of Replay makes pending, so
// that other writers hardly wait; replayLook is how many are looked at for them.
const (
	replayBatch = 250
	replayLook  = 500
)

// requeues are the statements that make settled deliveries pending again. The
// delivery comes first: as long as its new state is not committed nobody else
// can park its lane for it, or take it.
type requeues struct{ revive, resume, lanes, entries *sqldb.Bulk }

func newRequeues(d dialect) requeues {
	key := []string{"?", "?", "?", "CAST(? AS BIGINT)"}
	return requeues{
		revive: d.bulk(`
UPDATE delivery SET state = 'PENDING', attempt_count = 0, settle_time = NULL FROM (VALUES `, []string{"?", "?", "?"}, `) AS v
WHERE delivery.instance = v.column1 AND delivery.id = v.column2 AND delivery.state = v.column3
RETURNING instance, endpoint_id, interaction_id, sequence`),
		resume: d.bulk(`
UPDATE lane SET next_time = v.column5 FROM (VALUES `, append(slices.Clone(key), "CAST(? AS BIGINT)"), `) AS v
WHERE lane.instance = v.column1 AND lane.endpoint_id = v.column2 AND lane.interaction_id = v.column3
  AND lane.settled_seq = v.column4 - 1 AND lane.settled_seq < lane.last_seq AND lane.next_time = `+never+`
RETURNING instance, endpoint_id, interaction_id, settled_seq + 1`),
		lanes: d.bulk(`
INSERT INTO redelivery_lane (instance, endpoint_id, interaction_id, waiting, since, epoch, lease_until, next_time) VALUES `,
			append(slices.Clone(key), "CAST(? AS BIGINT)", "0", "0", "CAST(? AS BIGINT)"), `
ON CONFLICT (instance, endpoint_id, interaction_id) DO UPDATE SET
    waiting   = redelivery_lane.waiting + excluded.waiting,
    since     = CASE WHEN redelivery_lane.waiting > 0 THEN redelivery_lane.since ELSE excluded.since END,
    next_time = CASE WHEN redelivery_lane.lease_until > 0 THEN redelivery_lane.next_time ELSE excluded.next_time END`),
		entries: d.bulk(`
INSERT INTO redelivery (instance, endpoint_id, interaction_id, sequence) VALUES `, key, ``),
	}
}

// settled names a delivery by its number in its lane.
type settled struct {
	LaneKey
	sequence int64
}

func (s *settled) targets() []any {
	return []any{&s.Instance, &s.EndpointID, &s.InteractionID, &s.sequence}
}

// seen is a delivery of an instance, and the state that it was seen in.
type seen struct {
	instance, id string
	state        DeliveryState
}

// again makes deliveries pending that are still in the state that they were
// seen in, and returns how many. One for which its lane is parked goes before
// what waits behind it; the others are sent again beside their lanes.
func (q *requeues) again(ctx context.Context, tx sqldb.Tx, all []seen, now time.Time) (int, error) {
	micros := sqldb.Micros(now)
	revived, err := returned(ctx, tx, q.revive, all, func(args []any, s *seen) []any {
		return append(args, s.instance, s.id, string(s.state))
	})
	if err != nil || len(revived) == 0 {
		return 0, err
	}
	// Everybody locks lanes in the same order.
	slices.SortFunc(revived, func(a, b settled) int {
		if order := strings.Compare(a.InteractionID, b.InteractionID); order != 0 {
			return order
		}
		return int(a.sequence - b.sequence)
	})
	resumed, err := returned(ctx, tx, q.resume, revived, func(args []any, s *settled) []any {
		return append(args, s.Instance, s.EndpointID, s.InteractionID, s.sequence, micros)
	})
	if err != nil {
		return 0, err
	}
	beside := slices.DeleteFunc(slices.Clone(revived), func(s settled) bool { return slices.Contains(resumed, s) })
	type lane struct {
		LaneKey
		waiting int
	}
	var lanes []lane
	for _, s := range beside {
		if n := len(lanes); n > 0 && lanes[n-1].LaneKey == s.LaneKey {
			lanes[n-1].waiting++
			continue
		}
		lanes = append(lanes, lane{s.LaneKey, 1})
	}
	err = execute(ctx, tx, q.lanes, lanes, func(args []any, l lane) []any {
		return append(args, l.Instance, l.EndpointID, l.InteractionID, l.waiting, micros, micros)
	})
	if err != nil {
		return 0, err
	}
	err = execute(ctx, tx, q.entries, beside, func(args []any, s settled) []any {
		return append(args, s.Instance, s.EndpointID, s.InteractionID, s.sequence)
	})
	return len(revived), err
}

// returned runs a bulk statement that returns which deliveries it concerned.
func returned[T any](ctx context.Context, tx sqldb.Tx, statement *sqldb.Bulk, all []T, values func(args []any, item *T) []any) ([]settled, error) {
	var found []settled
	err := statement.Split(len(all), func(query string, from, to int) error {
		var args []any
		for i := range all[from:to] {
			args = values(args, &all[from+i])
		}
		rows, err := tx.QueryContext(ctx, query, args...)
		part, err := collect(rows, err, (*settled).targets)
		found = append(found, part...)
		return err
	})
	return found, err
}

const (
	aliveSQL = `
SELECT EXISTS (SELECT 1 FROM channel WHERE instance = $1 AND id = $2 AND delete_time IS NULL)
    OR EXISTS (SELECT 1 FROM bot_api WHERE instance = $1 AND id = $2 AND delete_time IS NULL)`
	hastenLaneSQL = `
UPDATE lane SET next_time = $5
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND settled_seq = $4 - 1 AND lease_until = 0 AND next_time > $5
  AND next_time < ` + never
	hastenRedeliverySQL = `
UPDATE redelivery_lane SET next_time = $5
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND lease_until = 0 AND next_time > $5 AND EXISTS (
    SELECT 1 FROM redelivery WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND sequence = $4)`
)

// EndpointExists reports whether a channel or integration exists and is not
// deleted.
func (s *Store) EndpointExists(ctx context.Context, e Endpoint) (bool, error) {
	return alive(ctx, s.db.Reader(), e)
}

func alive(ctx context.Context, r sqldb.Reader, e Endpoint) (exists bool, err error) {
	if err := r.QueryRowContext(ctx, aliveSQL, e.Instance, e.ID).Scan(&exists); err != nil {
		return false, fmt.Errorf("look for endpoint: %w", err)
	}
	return exists, nil
}

// SendAgain makes a delivery that is Dead or Delivered pending, to be sent
// again, and reports whether it did. One that is pending already is due at once
// if it is its turn. Errors: ErrDeliveryNotFound, ErrNotRetryable.
func (s *Store) SendAgain(ctx context.Context, instance, id string, now time.Time) (again bool, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		again = false
		var (
			one   = settled{LaneKey: LaneKey{Instance: instance}}
			state DeliveryState
		)
		err := tx.QueryRowContext(ctx, `
SELECT endpoint_id, interaction_id, sequence, state FROM delivery WHERE instance = $1 AND id = $2`, instance, id).
			Scan(&one.EndpointID, &one.InteractionID, &one.sequence, &state)
		if sqldb.IsNoRows(err) {
			return ErrDeliveryNotFound
		}
		if err != nil {
			return err
		}
		exists, err := alive(ctx, tx, Endpoint{Instance: instance, ID: one.EndpointID})
		if err != nil {
			return err
		}
		switch {
		case !exists || state == Cancelled:
			return ErrNotRetryable
		case state == Pending:
			for _, hasten := range []string{hastenLaneSQL, hastenRedeliverySQL} {
				_, err := tx.ExecContext(ctx, hasten, instance, one.EndpointID, one.InteractionID, one.sequence, sqldb.Micros(now))
				if err != nil {
					return err
				}
			}
			return nil
		}
		n, err := s.requeues.again(ctx, tx, []seen{{instance, id, state}}, now)
		again = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("send delivery again: %w", err)
	}
	return again, nil
}

// Replay says which deliveries of an endpoint are to be sent again.
type Replay struct {
	Endpoint
	// States are those that are meant: Dead, Delivered or both.
	States []DeliveryState
	// Start and End bound the time of creation, [Start, End). The zero time is
	// no bound.
	Start, End time.Time
}

// Replayed is how far a batch came.
type Replayed struct {
	// Count is how many deliveries it made pending.
	Count int
	// Last is the id of the last one that it looked at.
	Last string
	// Done says that none is left behind it.
	Done bool
}

const (
	replayDeadSQL = `
SELECT id, create_time FROM delivery
WHERE instance = $1 AND endpoint_id = $2 AND state = 'DEAD' AND id > $3 AND id < $4 ORDER BY id LIMIT CAST($5 AS BIGINT) + 0`
	replaySQL = `
SELECT id, create_time, endpoint_id, state FROM delivery
WHERE instance = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT CAST($4 AS BIGINT) + 0`
)

// Replay makes deliveries pending, the oldest first, in one short batch: those
// behind the one with the given id, "" for the first. Deliveries that are Dead
// alone are found without a look at others.
func (s *Store) Replay(ctx context.Context, r Replay, after string, now time.Time) (Replayed, error) {
	type row struct {
		seen
		endpoint string
		created  int64
	}
	from, below := idsWithin(r.Start, r.End)
	from = max(from, after)
	var (
		found []row
		err   error
		limit = replayBatch
	)
	if slices.Equal(r.States, []DeliveryState{Dead}) {
		rows, failed := s.db.Reader().QueryContext(ctx, replayDeadSQL, r.Instance, r.ID, from, below, limit)
		found, err = collect(rows, failed, func(x *row) []any {
			x.endpoint, x.state = r.ID, Dead
			return []any{&x.id, &x.created}
		})
	} else {
		limit = replayLook
		rows, failed := s.db.Reader().QueryContext(ctx, replaySQL, r.Instance, from, below, limit)
		found, err = collect(rows, failed, func(x *row) []any {
			return []any{&x.id, &x.created, &x.endpoint, &x.state}
		})
	}
	if err != nil {
		return Replayed{}, fmt.Errorf("read deliveries to replay: %w", err)
	}
	result := Replayed{Last: after, Done: len(found) < limit}
	var batch []seen
	for i := range found {
		if len(batch) == replayBatch {
			result.Done = false
			break
		}
		x := &found[i]
		result.Last, x.instance = x.id, r.Instance
		if x.endpoint == r.ID && slices.Contains(r.States, x.state) && within(sqldb.Time(x.created), r.Start, r.End) {
			batch = append(batch, x.seen)
		}
	}
	if len(batch) == 0 {
		return result, nil
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		result.Count = 0
		exists, err := alive(ctx, tx, r.Endpoint)
		if err != nil {
			return err
		}
		if !exists {
			return ErrNotRetryable
		}
		result.Count, err = s.requeues.again(ctx, tx, batch, now)
		return err
	})
	if err != nil {
		return Replayed{}, fmt.Errorf("replay deliveries: %w", err)
	}
	return result, nil
}

package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// eraseEntries is how many messages or deliveries one transaction deletes
// beforehand, so that other writers hardly wait. What is left of a thread or
// lane then goes with it.
const eraseEntries = 500

// Endpoints are the ids of all channels and integrations that an instance has or
// had: those that were deleted may have something left of a person.
func (s *Store) Endpoints(ctx context.Context, instance string) ([]string, error) {
	rows, err := s.db.Reader().QueryContext(ctx, `
SELECT id FROM channel WHERE instance = $1 UNION ALL SELECT id FROM bot_api WHERE instance = $1 ORDER BY id`, instance)
	ids, err := collect(rows, err, func(id *string) []any { return []any{id} })
	if err != nil {
		return nil, fmt.Errorf("list endpoints: %w", err)
	}
	return ids, nil
}

// PersonThreads are the threads of a person on some endpoints.
func (s *Store) PersonThreads(ctx context.Context, instance, identifier string, endpoints []string) ([]ThreadKey, error) {
	var threads []ThreadKey
	for _, endpoint := range endpoints {
		key := ThreadKey{Instance: instance, ChannelID: endpoint, ClientIdentifier: identifier}
		var one int
		err := s.db.Reader().QueryRowContext(ctx, `
SELECT 1 FROM thread WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3`, key.Instance, key.ChannelID, key.ClientIdentifier).Scan(&one)
		switch {
		case err == nil:
			threads = append(threads, key)
		case !sqldb.IsNoRows(err):
			return nil, fmt.Errorf("find threads of person: %w", err)
		}
	}
	return threads, nil
}

// ErasedThread is what was deleted of a thread.
type ErasedThread struct {
	// MessageIDs are those of its messages, of which Pending were not answered.
	MessageIDs []string
	Pending    int64
	// Latest is when the last of them was accepted.
	Latest time.Time
}

const (
	firstDoneMessageSQL = `
SELECT COALESCE((
    SELECT min(seq) FROM message WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3), 0), COALESCE((
    SELECT done_seq FROM thread WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3), 0)`
	eraseDoneMessagesSQL = `
DELETE FROM message WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND seq >= $4 AND seq <= $5 RETURNING id, create_time`
	eraseThreadSQL = `
DELETE FROM thread WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 RETURNING last_seq - done_seq`
	eraseMessagesSQL = `
DELETE FROM message WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 RETURNING id, create_time`
)

// EraseThread deletes a thread with all its messages. A turn of it that is in
// progress has lost its lease for good: the epochs of a thread that begins anew
// are beyond all that there were.
func (s *Store) EraseThread(ctx context.Context, key ThreadKey) (ErasedThread, error) {
	type row struct {
		id      string
		created int64
	}
	var erased ErasedThread
	add := func(rows []row) {
		for _, r := range rows {
			erased.MessageIDs = append(erased.MessageIDs, r.id)
			if at := sqldb.Time(r.created); at.After(erased.Latest) {
				erased.Latest = at
			}
		}
	}
	targets := func(r *row) []any { return []any{&r.id, &r.created} }
	for more := true; more; {
		var gone []row
		err := s.db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			var first, done int64
			err := tx.QueryRowContext(ctx, firstDoneMessageSQL, key.Instance, key.ChannelID, key.ClientIdentifier).Scan(&first, &done)
			if err != nil {
				return err
			}
			rows, err := tx.QueryContext(ctx, eraseDoneMessagesSQL, key.Instance, key.ChannelID, key.ClientIdentifier, first,
				min(first+eraseEntries-1, done))
			gone, err = collect(rows, err, targets)
			return err
		})
		if err != nil {
			return erased, fmt.Errorf("erase messages: %w", err)
		}
		add(gone)
		more = len(gone) == eraseEntries
	}
	var (
		rest    []row
		pending sql.NullInt64
	)
	err := s.db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		pending = sql.NullInt64{}
		err := tx.QueryRowContext(ctx, eraseThreadSQL, key.Instance, key.ChannelID, key.ClientIdentifier).Scan(&pending)
		if err != nil && !sqldb.IsNoRows(err) {
			return err
		}
		rows, err := tx.QueryContext(ctx, eraseMessagesSQL, key.Instance, key.ChannelID, key.ClientIdentifier)
		rest, err = collect(rows, err, targets)
		return err
	})
	if err != nil {
		return erased, fmt.Errorf("erase thread: %w", err)
	}
	add(rest)
	erased.Pending = pending.Int64
	return erased, nil
}

// DropErased deletes the head of a held thread, whose person was erased since it
// was accepted, and the thread if nothing is left in it. More is true if there
// is; the caller still holds it.
func (s *Store) DropErased(ctx context.Context, key ThreadKey, epoch, seq int64) (more bool, err error) {
	err = s.db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var last int64
		err := tx.QueryRowContext(ctx, finishThreadSQL, key.Instance, key.ChannelID, key.ClientIdentifier, epoch, seq).Scan(&last)
		if err != nil {
			return leased(err)
		}
		more = last > seq
		_, err = tx.ExecContext(ctx, `
DELETE FROM message WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND seq = $4`, key.Instance, key.ChannelID, key.ClientIdentifier, seq)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
DELETE FROM thread WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND done_seq = last_seq
    AND NOT EXISTS (SELECT 1 FROM message WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3)`,
			key.Instance, key.ChannelID, key.ClientIdentifier)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("drop message of erased person: %w", err)
	}
	return more, nil
}

// PersonLanes are the lanes of some conversations to some endpoints.
func (s *Store) PersonLanes(ctx context.Context, instance string, endpoints, interactions []string) ([]LaneKey, error) {
	var lanes []LaneKey
	pairs := make([]LaneKey, 0, len(endpoints)*len(interactions))
	for _, endpoint := range endpoints {
		for _, interaction := range interactions {
			pairs = append(pairs, LaneKey{Instance: instance, EndpointID: endpoint, InteractionID: interaction})
		}
	}
	err := s.findLanes.Split(len(pairs), func(query string, from, to int) error {
		args := make([]any, 0, 3*(to-from))
		for _, p := range pairs[from:to] {
			args = append(args, p.Instance, p.EndpointID, p.InteractionID)
		}
		rows, err := s.db.Reader().QueryContext(ctx, query, args...)
		found, err := collect(rows, err, func(k *LaneKey) []any { return []any{&k.Instance, &k.EndpointID, &k.InteractionID} })
		lanes = append(lanes, found...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find lanes of person: %w", err)
	}
	slices.SortFunc(lanes, func(a, b LaneKey) int {
		return cmp.Or(cmp.Compare(a.InteractionID, b.InteractionID), cmp.Compare(a.EndpointID, b.EndpointID))
	})
	return lanes, nil
}

// newFindLanes finds lanes by their keys. CROSS JOIN keeps the list of values
// the outer loop on SQLite.
func newFindLanes(d dialect) *sqldb.Bulk {
	return d.bulk(`
SELECT lane.instance, lane.endpoint_id, lane.interaction_id FROM (VALUES `, []string{"?", "?", "?"}, `) AS v CROSS JOIN lane
WHERE lane.instance = v.column1 AND lane.endpoint_id = v.column2 AND lane.interaction_id = v.column3`)
}

// seizeLaneSQL comes before the deliveries of a lane are deleted: on PostgreSQL it
// waits for results that are being stored, and keeps later ones out. The lane goes
// last, as on SQLite it leads to its deliveries.
var seizeLaneSQL = []string{
	`UPDATE lane SET epoch = epoch + 1, lease_until = 0 WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3`,
	`DELETE FROM redelivery_lane WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3`,
	`DELETE FROM redelivery WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3`,
}

// EraseLane deletes a lane with all its deliveries, and returns how many there
// were and how many of them were pending. Attempts in progress have lost their
// lease.
func (s *Store) EraseLane(ctx context.Context, key LaneKey) (deliveries, pending int64, err error) {
	for {
		var n int64
		err := s.db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			var first, settled, pending int64
			err := tx.QueryRowContext(ctx, s.lane.first, key.Instance, key.EndpointID, key.InteractionID).Scan(&first, &settled, &pending)
			if err != nil {
				return err
			}
			if pending > 0 {
				settled = min(settled, pending-1) // no gap may come before one that is to be sent again
			}
			result, err := tx.ExecContext(ctx, s.lane.eraseSettled, key.Instance, key.EndpointID, key.InteractionID, first,
				min(first+eraseEntries-1, settled))
			if err != nil {
				return err
			}
			n, err = result.RowsAffected()
			return err
		})
		if err != nil {
			return deliveries, 0, fmt.Errorf("erase deliveries: %w", err)
		}
		deliveries += n
		if n < eraseEntries {
			break
		}
	}
	var states []string
	err = s.db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		for _, statement := range seizeLaneSQL {
			if _, err := tx.ExecContext(ctx, statement, key.Instance, key.EndpointID, key.InteractionID); err != nil {
				return err
			}
		}
		rows, err := tx.QueryContext(ctx, s.lane.erase, key.Instance, key.EndpointID, key.InteractionID)
		states, err = collect(rows, err, func(state *string) []any { return []any{state} })
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
DELETE FROM lane WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3`, key.Instance, key.EndpointID, key.InteractionID)
		return err
	})
	if err != nil {
		return deliveries, 0, fmt.Errorf("erase lane: %w", err)
	}
	for _, state := range states {
		if DeliveryState(state) == Pending {
			pending++
		}
	}
	return deliveries + int64(len(states)), pending, nil
}

// CountThread counts the messages of a thread, and CountLane the deliveries of a
// lane.
func (s *Store) CountThread(ctx context.Context, key ThreadKey) (n int64, err error) {
	err = s.db.Reader().QueryRowContext(ctx, `
SELECT count(*) FROM message WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3`, key.Instance, key.ChannelID, key.ClientIdentifier).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count messages: %w", err)
	}
	return n, nil
}

// CountLane counts the deliveries of a lane.
func (s *Store) CountLane(ctx context.Context, key LaneKey) (n int64, err error) {
	err = s.db.Reader().QueryRowContext(ctx, s.lane.count, key.Instance, key.EndpointID, key.InteractionID).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count deliveries: %w", err)
	}
	return n, nil
}

// Heard is a message of a thread with what became of it.
type Heard struct {
	Message
	Outcome Outcome
}

// Heard reads at most limit messages of a thread after the one with the given
// number, in order, answered ones too.
func (s *Store) Heard(ctx context.Context, key ThreadKey, after int64, limit int) ([]Heard, error) {
	type row struct {
		messageRow
		done, aside bool
	}
	rows, err := s.db.Reader().QueryContext(ctx, `
SELECT `+messageColumns+`, seq <= (SELECT done_seq FROM thread WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3),
    set_aside IS NOT NULL
FROM message WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND seq > $4
ORDER BY seq LIMIT CAST($5 AS BIGINT) + 0`, key.Instance, key.ChannelID, key.ClientIdentifier, after, limit)
	found, err := collect(rows, err, func(r *row) []any { return append(r.targets(), &r.done, &r.aside) })
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	heard := make([]Heard, len(found))
	for i := range found {
		heard[i] = Heard{Message: found[i].message(key), Outcome: Waiting}
		switch {
		case found[i].aside:
			heard[i].Outcome = SetAside
		case found[i].done:
			heard[i].Outcome = Done
		}
	}
	return heard, nil
}

// BeginErasure stores the record of an erasure. Here nothing is refused by it:
// a message that comes at this moment is, by the agent, and dropped then.
func (s *Store) BeginErasure(ctx context.Context, r erasure.Record) error {
	return erasure.Begin(ctx, s.pool, r, "")
}

// RaiseErasure moves the cut of an erasure that is going on.
func (s *Store) RaiseErasure(ctx context.Context, r erasure.Record, cut time.Time) error {
	return erasure.Raise(ctx, s.pool, r, cut)
}

// FinishErasure notes that everything was deleted.
func (s *Store) FinishErasure(ctx context.Context, r erasure.Record, now time.Time) error {
	return erasure.Finish(ctx, s.pool, r, now)
}

// MissingErasures are those that the store does not know to be done.
func (s *Store) MissingErasures(ctx context.Context, records []erasure.Record) ([]erasure.Record, error) {
	return erasure.Missing(ctx, s.pool.Reader(), records)
}

// UnfinishedErasures are those that began and did not end.
func (s *Store) UnfinishedErasures(ctx context.Context) ([]erasure.Record, error) {
	return erasure.Unfinished(ctx, s.pool.Reader())
}

// Erasures lists the erasures of an instance, newest first, those before a
// position.
func (s *Store) Erasures(ctx context.Context, instance string, before erasure.Position, limit int) ([]erasure.Record, error) {
	return erasure.List(ctx, s.pool.Reader(), instance, before, limit)
}

// ForgetKeys deletes the idempotency records of the given messages.
func (s *Store) ForgetKeys(ctx context.Context, instance string, messages map[string]bool) error {
	_, err := idempotency.Forget(ctx, s.pool, instance, func(id string) bool { return messages[id] })
	return err
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// retireLook is how many threads or deliveries one call of Retire looks at.
	retireLook = 500
	// retireBatch is how many deliveries one transaction deletes.
	retireBatch = 100
	// outgoingPart marks the cursor of Retire while it is at the deliveries.
	outgoingPart = "deliveries/"
	kindMessages = "messages"
	kindSent     = "deliveries"
)

// RetiredKinds are what Retire counts.
func RetiredKinds() []string { return []string{kindMessages, kindSent} }

// NextInstance is the first instance after one that has threads or deliveries;
// empty when there is none.
func (s *Store) NextInstance(ctx context.Context, after string) (string, error) {
	var next sql.NullString
	err := s.db.Reader().QueryRowContext(ctx, `
SELECT min(instance) FROM (
    SELECT min(instance) AS instance FROM thread WHERE instance > $1
    UNION ALL
    SELECT min(instance) AS instance FROM delivery WHERE instance > $1) AS i`, after).Scan(&next)
	if err != nil {
		return "", fmt.Errorf("read next instance: %w", err)
	}
	return next.String, nil
}

// Retire deletes messages that were accepted before a time and are done, threads
// of which nothing is left, and deliveries that were settled before the time; see
// [retention.Store]. What is parked, or to be sent again, stays, and so do the
// positions of lanes, which hold no more than ids: a conversation that goes on
// must not number its deliveries anew.
func (s *Store) Retire(ctx context.Context, instance string, before time.Time, cursor string) (next string, deleted map[string]int64, err error) {
	deleted = make(map[string]int64)
	if after, ok := strings.CutPrefix(cursor, outgoingPart); ok {
		next, err = s.retireDeliveries(ctx, instance, before, after, deleted)
	} else {
		next, err = s.retireThreads(ctx, instance, before, cursor, deleted)
	}
	if err != nil {
		return "", nil, fmt.Errorf("delete what is old: %w", err)
	}
	return next, deleted, nil
}

func (s *Store) retireThreads(ctx context.Context, instance string, before time.Time, cursor string, deleted map[string]int64) (string, error) {
	type row struct {
		key    ThreadKey
		oldest sql.NullInt64
		idle   bool
	}
	channel, identifier, _ := strings.Cut(cursor, "/")
	rows, err := s.db.Reader().QueryContext(ctx, `
SELECT t.channel_id, t.client_identifier, t.done_seq = t.last_seq, (
    SELECT m.create_time FROM message AS m
    WHERE m.instance = t.instance AND m.channel_id = t.channel_id AND m.client_identifier = t.client_identifier ORDER BY m.seq LIMIT 1)
FROM thread AS t WHERE t.instance = $1 AND (t.channel_id, t.client_identifier) > ($2, $3)
ORDER BY t.channel_id, t.client_identifier LIMIT CAST($4 AS BIGINT) + 0`, instance, channel, identifier, retireLook)
	found, err := collect(rows, err, func(r *row) []any {
		r.key.Instance = instance
		return []any{&r.key.ChannelID, &r.key.ClientIdentifier, &r.idle, &r.oldest}
	})
	if err != nil {
		return "", err
	}
	for i := range found {
		r := &found[i]
		if r.oldest.Valid && r.oldest.Int64 < sqldb.Micros(before) || !r.oldest.Valid && r.idle {
			if err := s.retireThread(ctx, r.key, before, deleted); err != nil {
				return "", err
			}
		}
	}
	if len(found) < retireLook {
		return outgoingPart, nil
	}
	last := found[len(found)-1].key
	return last.ChannelID + "/" + last.ClientIdentifier, nil
}

const (
	retireMessagesSQL = `
DELETE FROM message
WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND seq >= $4 AND seq <= $5 AND create_time < $6`
	retireThreadSQL = `
DELETE FROM thread WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND done_seq = last_seq
    AND NOT EXISTS (SELECT 1 FROM message WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3)`
)

func (s *Store) retireThread(ctx context.Context, key ThreadKey, before time.Time, deleted map[string]int64) error {
	for more := true; more; {
		var n int64
		err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			var first, done int64
			err := tx.QueryRowContext(ctx, firstDoneMessageSQL, key.Instance, key.ChannelID, key.ClientIdentifier).Scan(&first, &done)
			if err != nil {
				return err
			}
			result, err := tx.ExecContext(ctx, retireMessagesSQL, key.Instance, key.ChannelID, key.ClientIdentifier, first,
				min(first+eraseEntries-1, done), sqldb.Micros(before))
			if err != nil {
				return err
			}
			if n, err = result.RowsAffected(); err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, retireThreadSQL, key.Instance, key.ChannelID, key.ClientIdentifier)
			return err
		})
		if err != nil {
			return err
		}
		deleted[kindMessages] += n
		more = n == eraseEntries
	}
	return nil
}

func (s *Store) retireDeliveries(ctx context.Context, instance string, before time.Time, after string, deleted map[string]int64) (string, error) {
	type row struct {
		id, state       string
		sequence        int64
		settled, passed sql.NullInt64
	}
	rows, err := s.db.Reader().QueryContext(ctx, `
SELECT d.id, d.sequence, d.state, d.settle_time, (
    SELECT l.settled_seq FROM lane AS l WHERE l.instance = d.instance AND l.endpoint_id = d.endpoint_id AND l.interaction_id = d.interaction_id)
FROM delivery AS d WHERE d.instance = $1 AND d.id > $2 AND d.id < $3 ORDER BY d.id LIMIT CAST($4 AS BIGINT) + 0`,
		instance, after, id.OrderedFrom(before), retireLook)
	found, err := collect(rows, err, func(r *row) []any {
		return []any{&r.id, &r.sequence, &r.state, &r.settled, &r.passed}
	})
	if err != nil {
		return "", err
	}
	var old []row
	for _, r := range found {
		after = r.id
		// The dead head of a parked lane is not passed.
		if DeliveryState(r.state) != Pending && r.settled.Valid && r.settled.Int64 < sqldb.Micros(before) && r.sequence <= r.passed.Int64 {
			old = append(old, r)
		}
	}
	for from := 0; from < len(old); from += retireBatch {
		var n int64
		err := s.pool.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
			n = 0
			for _, r := range old[from:min(from+retireBatch, len(old))] {
				gone, err := s.dialect.retire(ctx, tx, instance, r.id, before)
				if err != nil {
					return err
				}
				n += gone
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		deleted[kindSent] += n
	}
	if len(found) < retireLook {
		return "", nil
	}
	return outgoingPart + after, nil
}

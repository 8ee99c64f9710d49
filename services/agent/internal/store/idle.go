package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const finishIdle = `
UPDATE conversation SET state = 'FINISHED', finish_time = $5, epoch = epoch + 1
WHERE instance = $1 AND id = $2 AND state = 'OPEN' AND epoch = $3 AND last_turn = $4`

// recordEnd tells contacts of an end that no turn tells of: a pending record without a turn, behind the turns of its conversation.
const recordEnd = `
INSERT INTO pending_record (instance, conversation_id, turn_number, turn_id)
SELECT instance, id, last_turn + 1, '' FROM conversation WHERE instance = $1 AND id = $2`

// FinishIdle ends a conversation in which nothing happened for too long, unless it has moved on meanwhile; either way the caller
// looks again. What contacts must be told is stored with it. The end is when it was over, not when somebody saw it.
func (s *Store) FinishIdle(ctx context.Context, instance string, c *Conversation, end time.Time) error {
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		result, err := tx.ExecContext(ctx, finishIdle, instance, c.ID, c.Epoch, c.LastTurn, sqldb.Micros(end))
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, recordEnd, instance, c.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("finish idle conversation: %w", err)
	}
	return nil
}

const nextOpenInstance = `SELECT instance FROM conversation WHERE state = 'OPEN' AND instance > $1 ORDER BY instance LIMIT 1`

// NextOpenInstance is the first instance after another, by name, that has open conversations. ErrNotFound when there is none.
func (s *Store) NextOpenInstance(ctx context.Context, after string) (string, error) {
	var instance string
	err := s.db.Reader().QueryRowContext(ctx, nextOpenInstance, after).Scan(&instance)
	if sqldb.IsNoRows(err) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("read instances: %w", err)
	}
	return instance, nil
}

// Silent is an open conversation in which nothing happened for a while.
type Silent struct {
	ID         string
	CreateTime time.Time
}

// What is silent since a moment began before it, so the index of open conversations by their beginning leads to all of them, past few
// others: those that began long ago and are spoken in still. An index by their last word would be written by every turn.
const silent = `
SELECT id, create_time FROM conversation
WHERE instance = $1 AND state = 'OPEN' AND create_time <= $2 AND update_time <= $2 AND (create_time, id) > ($3, $4)
ORDER BY create_time, id LIMIT $5`

// Silent returns up to limit open conversations in which nothing happened since a moment, oldest first, from behind another on. The
// zero value is before all.
func (s *Store) Silent(ctx context.Context, instance string, since time.Time, after Silent, limit int) ([]Silent, error) {
	from := int64(math.MinInt64)
	if !after.CreateTime.IsZero() {
		from = sqldb.Micros(after.CreateTime)
	}
	rows, err := s.db.Reader().QueryContext(ctx, silent, instance, sqldb.Micros(since), from, after.ID, limit)
	if err != nil {
		return nil, fmt.Errorf("read silent conversations: %w", err)
	}
	defer rows.Close()
	var page []Silent
	for rows.Next() {
		var c Silent
		var created int64
		if err := rows.Scan(&c.ID, &created); err != nil {
			return nil, fmt.Errorf("read silent conversations: %w", err)
		}
		c.CreateTime = sqldb.Time(created)
		page = append(page, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read silent conversations: %w", err)
	}
	return page, nil
}

// FinishSilent ends conversations of an instance in which still nothing happened since a moment, all that are or none, and returns how
// many. Each ends a timeout after its last turn. What contacts must be told is stored with it.
func (s *Store) FinishSilent(
	ctx context.Context, instance string, ids []string, since time.Time, timeout time.Duration,
) (finished int, err error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return 0, fmt.Errorf("finish silent conversations: %w", err)
	}
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		ended, err := finishSilent(ctx, tx, s.dialect.finishSilent, instance, string(list), since, timeout)
		finished = len(ended)
		if err != nil || finished == 0 {
			return err
		}
		list, err := json.Marshal(ended)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, s.dialect.recordEnds, instance, string(list))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("finish silent conversations: %w", err)
	}
	return finished, nil
}

// The statements about the conversations of a JSON list, up to the condition that they are in it.
const (
	finishSilentOf = `
UPDATE conversation SET state = 'FINISHED', finish_time = update_time + $3, epoch = epoch + 1
WHERE instance = $1 AND state = 'OPEN' AND update_time <= $4 AND id`
	recordEndsOf = `
INSERT INTO pending_record (instance, conversation_id, turn_number, turn_id)
SELECT instance, id, last_turn + 1, '' FROM conversation WHERE instance = $1 AND id`
	readEndsOf = `SELECT id, attendance_id, finish_time FROM conversation WHERE instance = $1 AND finish_time IS NOT NULL AND id`
)

func finishSilent(
	ctx context.Context, tx sqldb.Tx, statement, instance, list string, since time.Time, timeout time.Duration,
) (ended []string, err error) {
	rows, err := tx.QueryContext(ctx, statement, instance, list, timeout.Microseconds(), sqldb.Micros(since))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ended = append(ended, id)
	}
	return ended, rows.Err()
}

// End is how a conversation ended of which no turn tells.
type End struct {
	AttendanceID int64
	Time         time.Time
}

// Ends reads the ends of conversations of one instance by their ids, and gives those that there are.
func (s *Store) Ends(ctx context.Context, instance string, conversations []string) (map[string]End, error) {
	list, err := json.Marshal(conversations)
	if err != nil {
		return nil, fmt.Errorf("read ends of conversations: %w", err)
	}
	rows, err := s.db.Reader().QueryContext(ctx, s.dialect.readEnds, instance, string(list))
	if err != nil {
		return nil, fmt.Errorf("read ends of conversations: %w", err)
	}
	defer rows.Close()
	ends := make(map[string]End, len(conversations))
	for rows.Next() {
		var id string
		var end End
		var at int64
		if err := rows.Scan(&id, &end.AttendanceID, &at); err != nil {
			return nil, fmt.Errorf("read ends of conversations: %w", err)
		}
		end.Time = sqldb.Time(at)
		ends[id] = end
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read ends of conversations: %w", err)
	}
	return ends, nil
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// RecordKey is the place of a pending record: its instance, its conversation, its turn. The zero key is before all.
type RecordKey struct {
	Instance, ConversationID string
	TurnNumber               int64
}

// PendingRecord is a finished turn that contacts does not have yet, or the end of a conversation.
type PendingRecord struct {
	Key RecordKey
	// TurnID is empty for the end of a conversation of which no turn tells; it comes after all turns.
	TurnID string
	// Tries is how often contacts refused it.
	Tries int64
	// RetryTime is when it may be tried again; zero is at once.
	RetryTime time.Time
}

const pendingRecords = `
SELECT instance, conversation_id, turn_number, turn_id, tries, retry_time FROM pending_record
WHERE (instance, conversation_id, turn_number) > ($1, $2, $3)
ORDER BY instance, conversation_id, turn_number LIMIT $4`

// PendingRecords returns up to limit records after a place, in order of places: within a conversation that is the order of its
// turns, and no turn is missing before one that is returned unless it is at or before the place.
func (s *Store) PendingRecords(ctx context.Context, after RecordKey, limit int) ([]PendingRecord, error) {
	rows, err := s.db.Reader().QueryContext(ctx, pendingRecords, after.Instance, after.ConversationID, after.TurnNumber, limit)
	if err != nil {
		return nil, fmt.Errorf("read pending records: %w", err)
	}
	defer rows.Close()
	var records []PendingRecord
	for rows.Next() {
		var r PendingRecord
		var retry sql.NullInt64
		if err := rows.Scan(&r.Key.Instance, &r.Key.ConversationID, &r.Key.TurnNumber, &r.TurnID, &r.Tries, &retry); err != nil {
			return nil, fmt.Errorf("read pending records: %w", err)
		}
		r.RetryTime = sqldb.NullTime(retry)
		records = append(records, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read pending records: %w", err)
	}
	return records, nil
}

// Said is what was said in a turn, and what came of it: Answer and Record as in Turn.
type Said struct{ Answer, Record []byte }

// Said reads turns of one instance by their ids, and gives those that there are.
func (s *Store) Said(ctx context.Context, instance string, turnIDs []string) (map[string]Said, error) {
	if len(turnIDs) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(turnIDs)
	if err != nil {
		return nil, fmt.Errorf("read turns: %w", err)
	}
	rows, err := s.db.Reader().QueryContext(ctx, s.dialect.readTurns, instance, string(list))
	if err != nil {
		return nil, fmt.Errorf("read turns: %w", err)
	}
	defer rows.Close()
	turns := make(map[string]Said, len(turnIDs))
	for rows.Next() {
		var id string
		var said Said
		if err := rows.Scan(&id, &said.Answer, &said.Record); err != nil {
			return nil, fmt.Errorf("read turns: %w", err)
		}
		turns[id] = said
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read turns: %w", err)
	}
	return turns, nil
}

// holdsLease ends the statements that only the holder of a lease may run; $3, $4 and $5 are the lease's name, holder and epoch.
const holdsLease = `EXISTS (SELECT 1 FROM worker_lease WHERE instance = '' AND name = $3 AND holder = $4 AND epoch = $5)`

// DeleteRecords removes records of one instance that contacts has. ErrLeaseLost when lease is not held any more.
func (s *Store) DeleteRecords(ctx context.Context, lease Lease, instance string, keys []RecordKey) error {
	if len(keys) == 0 {
		return nil
	}
	err := s.dialect.deleteRecords(ctx, s.db, lease, instance, keys)
	if err != nil && !errors.Is(err, ErrLeaseLost) {
		return fmt.Errorf("delete records: %w", err)
	}
	return err
}

const postponeRecord = `
UPDATE pending_record SET tries = tries + 1, retry_time = $2
WHERE instance = $1 AND ` + holdsLease + ` AND conversation_id = $6 AND turn_number = $7`

// PostponeRecord counts a refusal of a record and keeps it, and with it the later turns of its conversation, until retry.
func (s *Store) PostponeRecord(ctx context.Context, lease Lease, key RecordKey, retry time.Time) error {
	result, err := s.db.Exec1(ctx, postponeRecord, key.Instance, sqldb.Micros(retry), lease.Name, lease.Holder, lease.Epoch,
		key.ConversationID, key.TurnNumber)
	if err != nil {
		return fmt.Errorf("postpone record: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("postpone record: %w", err)
	}
	if n == 0 {
		return ErrLeaseLost
	}
	return nil
}

const copyRefused = `
INSERT INTO refused_record (instance, conversation_id, turn_number, turn_id, code, create_time)
SELECT instance, conversation_id, turn_number, turn_id, $2, $8 FROM pending_record
WHERE instance = $1 AND ` + holdsLease + ` AND conversation_id = $6 AND turn_number = $7`

const deleteRefused = `DELETE FROM pending_record WHERE instance = $1 AND conversation_id = $2 AND turn_number = $3`

// RefuseRecord sets a record aside for good, so that the later turns of its conversation go on. The code says why.
func (s *Store) RefuseRecord(ctx context.Context, lease Lease, key RecordKey, code string, now time.Time) error {
	return s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		result, err := tx.ExecContext(ctx, copyRefused, key.Instance, code, lease.Name, lease.Holder, lease.Epoch,
			key.ConversationID, key.TurnNumber, sqldb.Micros(now))
		if err != nil {
			return fmt.Errorf("set record aside: %w", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("set record aside: %w", err)
		}
		if n == 0 {
			return ErrLeaseLost
		}
		if s.dialect.markRefused != "" {
			if _, err := tx.ExecContext(ctx, s.dialect.markRefused, key.Instance, key.ConversationID, key.TurnNumber); err != nil {
				return fmt.Errorf("mark refused turn: %w", err)
			}
		}
		if _, err = tx.ExecContext(ctx, deleteRefused, key.Instance, key.ConversationID, key.TurnNumber); err != nil {
			return fmt.Errorf("set record aside: %w", err)
		}
		return nil
	})
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Attended is the conversation of an attendance, open or finished.
type Attended struct {
	// Conversation is where it stands.
	Conversation
	Lane Lane
	// Source is where it comes from.
	Source string
	// FinishTime is when it ended; zero while it is open.
	FinishTime time.Time
}

// Open reports whether the conversation has not ended.
func (a *Attended) Open() bool { return a.FinishTime.IsZero() }

const (
	readAttended = `
SELECT id, contact_id, agent_id, agent_version, endpoint_id, identifier, source, attendance_id, epoch, last_turn, last_turn_id, flow_state,
    update_time, finish_time
FROM conversation WHERE instance = $1 AND `
	attendedByNumber = readAttended + `attendance_id = $2`
	attendedByID     = readAttended + `id = $2`
)

// Attended reads the conversation of an attendance, by the attendance's number. ErrNotFound.
func (s *Store) Attended(ctx context.Context, r sqldb.Reader, instance string, attendance int64) (*Attended, error) {
	return scanAttended(instance, r.QueryRowContext(ctx, attendedByNumber, instance, attendance))
}

// AttendedByID is Attended by the conversation's id.
func (s *Store) AttendedByID(ctx context.Context, r sqldb.Reader, instance, conversation string) (*Attended, error) {
	return scanAttended(instance, r.QueryRowContext(ctx, attendedByID, instance, conversation))
}

func scanAttended(instance string, row interface{ Scan(dest ...any) error }) (*Attended, error) {
	a := &Attended{Lane: Lane{Instance: instance}}
	var updated int64
	var finished sql.NullInt64
	err := row.Scan(&a.ID, &a.ContactID, &a.Lane.AgentID, &a.AgentVersion, &a.Lane.EndpointID, &a.Lane.Identifier, &a.Source, &a.AttendanceID,
		&a.Epoch, &a.LastTurn, &a.LastTurnID, &a.FlowState, &updated, &finished)
	if sqldb.IsNoRows(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read conversation of attendance: %w", err)
	}
	a.UpdateTime, a.FinishTime = sqldb.Time(updated), sqldb.NullTime(finished)
	return a, nil
}

// Reader reads what is committed.
func (s *Store) Reader() sqldb.Reader { return s.db.Reader() }

const handBack = `
UPDATE conversation SET epoch = epoch + 1, flow_state = $5, update_time = $6
WHERE instance = $1 AND id = $2 AND state = 'OPEN' AND epoch = $3 AND last_turn = $4`

// HandBack gives a conversation another state of its flow, and raises its epoch: what was computed before does not count any more.
// ErrConflict when it is no longer as it was read.
func (s *Store) HandBack(ctx context.Context, tx sqldb.Tx, a *Attended, flowState []byte, now time.Time) error {
	return one(tx.ExecContext(ctx, handBack, a.Lane.Instance, a.ID, a.Epoch, a.LastTurn, flowState, sqldb.Micros(now)))
}

// Finish ends a conversation, and raises its epoch. What contacts must be told is stored with it. ErrConflict when it is no longer as
// it was read.
func (s *Store) Finish(ctx context.Context, tx sqldb.Tx, a *Attended, now time.Time) error {
	if err := one(tx.ExecContext(ctx, finishIdle, a.Lane.Instance, a.ID, a.Epoch, a.LastTurn, sqldb.Micros(now))); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, recordEnd, a.Lane.Instance, a.ID); err != nil {
		return fmt.Errorf("record end of conversation: %w", err)
	}
	return nil
}

// one turns "no row" of a statement that names the state that was read into ErrConflict.
func one(result sql.Result, err error) error {
	if err != nil {
		return fmt.Errorf("change conversation: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("change conversation: %w", err)
	}
	if n == 0 {
		return ErrConflict
	}
	return nil
}

// Reply is what people said, to be stored as a turn.
type Reply struct {
	// To is the conversation as it was read. It may be finished.
	To *Attended
	// ID is the id of the message, which is the turn's.
	ID string
	// Answer and Record are as those of Turn.
	Answer, Record []byte
	// Time is when it is stored.
	Time time.Time
}

// recordNumber is the place of the turn's record among those of its conversation: its number, or the next where the record of an end
// that no turn tells of may have that already.
func (r *Reply) recordNumber() int64 {
	if r.To.Open() {
		return r.To.LastTurn + 1
	}
	return r.To.LastTurn + 2
}

const (
	readAnswer = `SELECT answer FROM turn WHERE instance = $1 AND id = $2`

	moveByReply = `
UPDATE conversation SET last_turn = $5, last_turn_id = $6, messages = messages + 1, update_time = $7
WHERE instance = $1 AND id = $2 AND epoch = $3 AND last_turn = $4`

	insertReply = `
INSERT INTO turn (instance, id, conversation_id, number, previous_id, answer, record, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`

	recordReply = `INSERT INTO pending_record (instance, conversation_id, turn_number, turn_id) VALUES ($1, $2, $3, $4)`
)

// Answer is the stored answer of a turn. ErrNotFound.
func (s *Store) Answer(ctx context.Context, instance, turnID string) ([]byte, error) {
	var answer []byte
	err := s.db.Reader().QueryRowContext(ctx, readAnswer, instance, turnID).Scan(&answer)
	if sqldb.IsNoRows(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return answer, nil
}

// CommitReply stores a reply: the turn, how far its conversation is, and that contacts must be told, all or nothing. The state of the
// flow stays. ErrConflict when the turn is stored already, or the conversation is no longer as it was read.
func (s *Store) CommitReply(ctx context.Context, r *Reply) error {
	to, now, number := r.To, sqldb.Micros(r.Time), r.To.LastTurn+1
	err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if err := one(tx.ExecContext(ctx, moveByReply, to.Lane.Instance, to.ID, to.Epoch, to.LastTurn, number, r.ID, now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, insertReply, to.Lane.Instance, r.ID, to.ID, number, to.LastTurnID, r.Answer, r.Record, now)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, recordReply, to.Lane.Instance, to.ID, r.recordNumber(), r.ID)
		return err
	})
	if sqldb.IsUnique(err) {
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("commit reply: %w", err)
	}
	return nil
}

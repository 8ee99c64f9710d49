package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// ThreadKey names what one person wrote on one channel.
type ThreadKey struct{ Instance, ChannelID, ClientIdentifier string }

func (k ThreadKey) columns() [3]string { return [3]string{k.Instance, k.ChannelID, k.ClientIdentifier} }

// Thread is a thread that the caller holds.
type Thread struct {
	ThreadKey
	// Epoch is that of the lease.
	Epoch int64
	// DoneSeq is the number of the last message that is done.
	DoneSeq int64
	// Failures counts how often the head failed in a row, Strikes how many of
	// these were final errors.
	Failures, Strikes int64
	// Pending is the first messages that are pending, in order, as far as they
	// are read already.
	Pending []Message
}

const threadColumns = `instance, channel_id, client_identifier, epoch, done_seq, failures, strikes`

func (t *Thread) targets() []any {
	return []any{&t.Instance, &t.ChannelID, &t.ClientIdentifier, &t.Epoch, &t.DoneSeq, &t.Failures, &t.Strikes}
}

const readyInstancesSQL = `
WITH RECURSIVE pending (instance) AS (
    SELECT min(instance) FROM thread WHERE done_seq < last_seq
    UNION ALL
    SELECT (SELECT min(thread.instance) FROM thread WHERE thread.done_seq < thread.last_seq AND thread.instance > pending.instance)
    FROM pending WHERE pending.instance IS NOT NULL)
SELECT instance FROM pending
WHERE EXISTS (
    SELECT 1 FROM thread
    WHERE thread.instance = pending.instance AND thread.done_seq < thread.last_seq AND thread.next_time <= $1)`

// ReadyInstances lists the instances with a thread that is due. It costs a few
// steps per instance, as [Store.ReadyEndpoints] does, and being a read it costs
// an idle process no commit.
func (s *Store) ReadyInstances(ctx context.Context, now time.Time) ([]string, error) {
	rows, err := s.db.Reader().QueryContext(ctx, readyInstancesSQL, sqldb.Micros(now))
	instances, err := collect(rows, err, func(instance *string) []any { return []any{instance} })
	if err != nil {
		return nil, fmt.Errorf("list ready instances: %w", err)
	}
	return instances, nil
}

// ThreadClaim says how many threads of an instance to take.
type ThreadClaim struct {
	Instance string
	Limit    int
}

// ClaimThreads takes threads that are due, those that wait longest first, until
// the given time: of each instance at most its limit. Each comes with its first
// pending messages, ReadAhead at most; there may be none if they came at this
// moment.
func (s *Store) ClaimThreads(ctx context.Context, claims []ThreadClaim, now, until time.Time) ([]Thread, error) {
	var threads []Thread
	err := s.pool.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		threads = threads[:0]
		for _, claim := range claims {
			args := append([]any{claim.Instance, sqldb.Micros(now), sqldb.Micros(until), claim.Limit}, s.dialect.holder()...)
			rows, err := tx.QueryContext(ctx, s.dialect.claimThreads(), args...)
			taken, err := collect(rows, err, (*Thread).targets)
			if err != nil {
				return err
			}
			threads = append(threads, taken...)
		}
		s.dialect.tookThreads(threads, until)
		return s.heads.ofThreads(ctx, tx, threads)
	})
	if err != nil {
		return nil, fmt.Errorf("claim threads: %w", err)
	}
	return threads, nil
}

// Outgoing is one message of an answer, to be delivered.
type Outgoing struct {
	// ID is the delivery's, and the webhook-id of every attempt.
	ID string
	// Body is what every attempt sends, byte for byte.
	Body []byte
}

// Turn is a message that was answered.
type Turn struct {
	ThreadKey
	Epoch, Seq               int64
	ContactID, InteractionID string
	Answer                   []Outgoing
	// Trace is the traceparent of what the answer's deliveries belong to; "" if
	// nobody traces them.
	Trace string
	// HoldLane, if it is set, asks for a lease until then on the lane of the
	// answer, if that lane is idle.
	HoldLane time.Time
}

// Finished is what came of a turn.
type Finished struct {
	// More is true if the thread has further messages; the caller still holds
	// it. Otherwise the lease has ended.
	More bool
	// Pending is the next of them, in order, as far as they are known already.
	Pending []Message
	// Queued is how many deliveries were stored: none if the channel was
	// deleted in between.
	Queued int
	// FirstSequence is the number of the first delivery.
	FirstSequence int64
	// Lane is held, and comes with the answer as its pending deliveries, if LaneHeld.
	Lane     Lane
	LaneHeld bool
}

const finishThreadSQL = `
UPDATE thread SET done_seq = $5, failures = 0, strikes = 0, lease_until = CASE WHEN last_seq = $5 THEN 0 ELSE lease_until END
WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND epoch = $4 AND done_seq = $5 - 1 AND lease_until > 0
RETURNING last_seq`

// FinishTurn marks the head of a held thread done and queues its answer, in
// one transaction. It fails with ErrLeaseLost if the thread was taken since, or
// the message is done already.
func (s *Store) FinishTurn(ctx context.Context, turn *Turn, now time.Time) (Finished, error) {
	finished, err := s.dialect.finishTurn(ctx, s.pool, turn, now)
	if err != nil {
		return Finished{}, fmt.Errorf("finish turn: %w", err)
	}
	return finished, nil
}

func (t *Turn) lane() LaneKey {
	return LaneKey{Instance: t.Instance, EndpointID: t.ChannelID, InteractionID: t.InteractionID}
}

// queued writes down that the answer was queued: the lane's position is that
// after it.
func (f *finish) queued(last, settled, epoch int64) {
	count := int64(len(f.turn.Answer))
	f.finished.Queued, f.finished.FirstSequence = len(f.turn.Answer), last-count+1
	f.finished.LaneHeld = !f.turn.HoldLane.IsZero() && settled == last-count
	if f.finished.LaneHeld {
		f.finished.Lane = Lane{LaneKey: f.turn.lane(), Epoch: epoch, SettledSeq: settled, Pending: f.pending()}
	}
}

// pending is the deliveries of the answer, as they are stored.
func (f *finish) pending() []Delivery {
	all := make([]Delivery, len(f.turn.Answer))
	for i, answer := range f.turn.Answer {
		all[i] = Delivery{
			LaneKey: f.turn.lane(), Sequence: f.finished.FirstSequence + int64(i), ID: answer.ID, ContactID: f.turn.ContactID,
			Body: answer.Body, State: Pending, CreateTime: f.now, Trace: f.turn.Trace,
		}
	}
	return all
}

// SetAside gives up the head of a held thread: it stays stored with the reason,
// a stable word, and the thread goes on.
func (s *Store) SetAside(ctx context.Context, key ThreadKey, epoch, seq int64, reason string) (more bool, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var last int64
		err := tx.QueryRowContext(ctx, finishThreadSQL, key.Instance, key.ChannelID, key.ClientIdentifier, epoch, seq).Scan(&last)
		if err != nil {
			return leased(err)
		}
		more = last > seq
		_, err = tx.ExecContext(ctx, `
UPDATE message SET set_aside = $5 WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND seq = $4`,
			key.Instance, key.ChannelID, key.ClientIdentifier, seq, reason)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("set message aside: %w", err)
	}
	return more, nil
}

// PostponeThread ends the lease after a failure of the head; the thread is due
// again at next. strike says that the error was a final one.
func (s *Store) PostponeThread(ctx context.Context, key ThreadKey, epoch int64, next time.Time, strike bool) error {
	strikes := 0
	if strike {
		strikes = 1
	}
	return changed(s.db.Exec1(ctx, `
UPDATE thread SET failures = failures + 1, strikes = strikes + $5, lease_until = 0, next_time = $6
WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND epoch = $4 AND lease_until > 0`,
		key.Instance, key.ChannelID, key.ClientIdentifier, epoch, strikes, sqldb.Micros(next)))
}

// ReleaseThread ends the lease without a result; the thread is due at once.
func (s *Store) ReleaseThread(ctx context.Context, key ThreadKey, epoch int64, now time.Time) error {
	return changed(s.db.Exec1(ctx, `
UPDATE thread SET lease_until = 0, next_time = $5
WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND epoch = $4 AND lease_until > 0`,
		key.Instance, key.ChannelID, key.ClientIdentifier, epoch, sqldb.Micros(now)))
}

// RenewThread makes the lease last until the given time.
func (s *Store) RenewThread(ctx context.Context, key ThreadKey, epoch int64, until time.Time) error {
	return changed(s.db.Exec1(ctx, `
UPDATE thread SET lease_until = $5, next_time = $5
WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND epoch = $4 AND lease_until > 0`,
		key.Instance, key.ChannelID, key.ClientIdentifier, epoch, sqldb.Micros(until)))
}

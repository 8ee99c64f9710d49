package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Message is an accepted message.
type Message struct {
	ThreadKey
	// Seq counts the messages of the thread from 1; given at commit.
	Seq int64
	ID  string
	// Text is empty exactly if the person said nothing: a program opened the turn.
	Text, Postback string
	// Context is what was sent for the context of the conversation, a serialized
	// google.protobuf.Struct; nil if nothing was.
	Context    []byte
	CreateTime time.Time
	// Trace is the traceparent of the call that brought it; "" if nobody traces it.
	Trace string
	// ReplyTo is the conversation to which people said this in the agent's
	// place; "" if the person of the thread said it.
	ReplyTo string
}

// Held says what an accepting transaction took for its caller.
type Held struct {
	// Seq is the message's number in its thread.
	Seq int64
	// Epoch is that of the lease.
	Epoch int64
	// OK is false if the thread had earlier messages pending, or no lease was asked for.
	OK bool
}

// Accepted is what came of a message.
type Accepted struct {
	// MessageID is the id of the message, or of the first one that had the key.
	MessageID string
	// Replayed is true if the key was known and nothing was stored.
	Replayed bool
	// Held is the lease on the thread, if it was idle and hold was given.
	Held Held
}

// Accept stores a message behind the others of its thread, with the record of
// its key if there is one, in one transaction. The record's response is the
// message's id.
//
// If hold is set and the thread is idle, the caller gets a lease on the thread
// until then, as if it had claimed it at once.
func (s *Store) Accept(ctx context.Context, m *Message, key *Key, hold time.Time) (Accepted, error) {
	accepted, err := s.dialect.accept(ctx, s.pool, m, key, hold)
	if err != nil {
		return Accepted{}, fmt.Errorf("accept message: %w", err)
	}
	return accepted, nil
}

// replayed is what came of a message that was not stored: its key is taken, or
// the channel or integration is gone.
func replayed(ctx context.Context, r sqldb.Reader, m *Message, key *Key) (Accepted, error) {
	if key == nil {
		return Accepted{}, ErrChannelNotFound
	}
	first, err := recall(ctx, r, m.Instance, key, m.CreateTime)
	if err != nil {
		return Accepted{}, err
	}
	if first == nil {
		return Accepted{}, ErrChannelNotFound
	}
	return Accepted{MessageID: string(first), Replayed: true}, nil
}

const (
	messageColumns = `seq, id, text, postback, context, create_time, COALESCE(trace, ''), COALESCE(reply_to, '')`
	messagesSQL    = `
SELECT ` + messageColumns + ` FROM message
WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND seq > $4
ORDER BY seq LIMIT CAST($5 AS BIGINT) + 0`
)

type messageRow struct {
	Message
	created int64
}

func (r *messageRow) targets() []any {
	return []any{&r.Seq, &r.ID, &r.Text, &r.Postback, &r.Context, &r.created, &r.Trace, &r.ReplyTo}
}

func (r *messageRow) message(key ThreadKey) Message {
	r.ThreadKey, r.CreateTime = key, sqldb.Time(r.created)
	if len(r.Context) == 0 {
		r.Context = nil
	}
	return r.Message
}

// Messages reads at most limit messages of a thread after the one numbered
// after, in order.
func (s *Store) Messages(ctx context.Context, key ThreadKey, after int64, limit int) ([]Message, error) {
	rows, err := s.db.Reader().QueryContext(ctx, messagesSQL, key.Instance, key.ChannelID, key.ClientIdentifier, after, limit)
	found, err := collect(rows, err, (*messageRow).targets)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	messages := make([]Message, len(found))
	for i := range found {
		messages[i] = found[i].message(key)
	}
	return messages, nil
}

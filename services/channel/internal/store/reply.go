package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const markReplySQL = `
UPDATE message SET reply_to = $5 WHERE instance = $1 AND channel_id = $2 AND client_identifier = $3 AND seq = $4`

// markReply makes a message that was stored just now one of people. It is a
// statement of its own, so that those of all other messages have no part of it.
func markReply(ctx context.Context, tx sqldb.Tx, m *Message, seq int64) error {
	_, err := tx.ExecContext(ctx, markReplySQL, m.Instance, m.ChannelID, m.ClientIdentifier, seq, m.ReplyTo)
	return err
}

// Remember stores a key with its response, for a call whose effect is not in
// this store. It returns the response of the first call with the key: the same
// one, if this is the first. The error is idempotency.ErrReused if the key
// stands for another request.
func (s *Store) Remember(ctx context.Context, instance string, key *Key, now time.Time) (first []byte, err error) {
	err = s.pool.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		first = key.Response
		taken, err := takeKey(ctx, tx, instance, key, now)
		if err != nil || taken {
			return err
		}
		first, err = recall(ctx, tx, instance, key, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("remember key: %w", err)
	}
	return first, nil
}

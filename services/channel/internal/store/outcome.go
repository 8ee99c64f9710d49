package store

import (
	"context"
	"fmt"
)

// Outcome is what became of a message.
type Outcome int

// The outcomes of a message.
const (
	// Waiting is a message that is to be answered.
	Waiting Outcome = iota
	// Done is one that was answered, or cancelled.
	Done
	// SetAside is one that no turn could answer.
	SetAside
)

// outcomeSQL looks from the newest message back: the one that is asked for is
// seldom far behind it.
const outcomeSQL = `
SELECT message.seq <= thread.done_seq, message.set_aside IS NOT NULL
FROM message JOIN thread ON thread.instance = message.instance AND thread.channel_id = message.channel_id
    AND thread.client_identifier = message.client_identifier
WHERE message.instance = $1 AND message.channel_id = $2 AND message.client_identifier = $3 AND message.id = $4
ORDER BY message.seq DESC LIMIT 1`

// Outcome reads what became of a message of a thread. One that is not there is
// Waiting.
func (s *Store) Outcome(ctx context.Context, key ThreadKey, messageID string) (Outcome, error) {
	rows, err := s.db.Reader().QueryContext(ctx, outcomeSQL, key.Instance, key.ChannelID, key.ClientIdentifier, messageID)
	type row struct{ done, aside bool }
	found, err := collect(rows, err, func(r *row) []any { return []any{&r.done, &r.aside} })
	switch {
	case err != nil:
		return Waiting, fmt.Errorf("read outcome of message: %w", err)
	case len(found) == 0 || !found[0].done:
		return Waiting, nil
	case found[0].aside:
		return SetAside, nil
	}
	return Done, nil
}

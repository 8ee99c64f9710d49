package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// retireLook is how many conversations one call of Retire looks at.
const retireLook = 200

const (
	nextInstance = `
SELECT min(instance) FROM (
    SELECT min(instance) AS instance FROM conversation WHERE instance > $1
    UNION ALL
    SELECT min(instance) AS instance FROM chat_conversation WHERE instance > $1) AS i`

	// An id begins with the time at which the conversation began.
	oldConversations = `
SELECT c.id, c.state = 'FINISHED' AND c.finish_time < $4
    AND NOT EXISTS (SELECT 1 FROM pending_record p WHERE p.instance = c.instance AND p.conversation_id = c.id)
FROM conversation c WHERE c.instance = $1 AND c.id > $2 AND c.id < $3 ORDER BY c.id LIMIT $5`

	// Those in which nothing was ever said. Of the others the row goes with the conversation.
	oldChats = `
SELECT h.id, h.create_time < $4
    AND NOT EXISTS (SELECT 1 FROM conversation c WHERE c.instance = h.instance AND c.id = h.id)
    AND NOT EXISTS (SELECT 1 FROM chat_turn q WHERE q.instance = h.instance AND q.conversation_id = h.id)
    AND NOT EXISTS (SELECT 1 FROM conversation_note n WHERE n.instance = h.instance AND n.conversation_id = h.id AND n.update_time >= $4)
FROM chat_conversation h WHERE h.instance = $1 AND h.id > $2 AND h.id < $3 ORDER BY h.id LIMIT $5`
)

// NextInstance is the first instance after one that has conversations; empty when there is none.
func (s *Store) NextInstance(ctx context.Context, after string) (string, error) {
	var next sql.NullString
	if err := s.db.Reader().QueryRowContext(ctx, nextInstance, after).Scan(&next); err != nil {
		return "", fmt.Errorf("read next instance: %w", err)
	}
	return next.String, nil
}

// Retire deletes conversations that ended before a time, and those in which nothing was said since; see [retention.Store]. One of which
// contacts does not know everything stays.
func (s *Store) Retire(ctx context.Context, instance string, before time.Time, cursor string) (next string, deleted map[string]int64, err error) {
	query, from, prefix := oldConversations, cursor, ""
	if len(cursor) >= len(listed) && cursor[:len(listed)] == listed {
		query, from, prefix = oldChats, cursor[len(listed):], listed
	}
	below := fmt.Sprintf("%08x", max(before.Unix(), 0))
	rows, err := s.db.Reader().QueryContext(ctx, query, instance, from, below, sqldb.Micros(before), retireLook)
	if err != nil {
		return "", nil, fmt.Errorf("find old conversations: %w", err)
	}
	defer rows.Close()
	var ids []string
	looked := 0
	for rows.Next() {
		var ended sql.NullBool
		if err := rows.Scan(&from, &ended); err != nil {
			return "", nil, fmt.Errorf("find old conversations: %w", err)
		}
		looked++
		if ended.Bool {
			ids = append(ids, from)
		}
	}
	if err := rows.Err(); err != nil {
		return "", nil, fmt.Errorf("find old conversations: %w", err)
	}
	deleted = make(map[string]int64)
	for _, id := range ids { // an end never changes
		var turns []string
		err := s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) (err error) {
			turns, err = s.deleteConversation(ctx, tx, instance, id)
			return err
		})
		if err != nil {
			return "", nil, fmt.Errorf("delete old conversation: %w", err)
		}
		deleted[KindConversations]++
		deleted[KindTurns] += int64(len(turns))
	}
	switch {
	case looked == retireLook:
		next = prefix + from
	case prefix == "":
		next = listed
	}
	return next, deleted, nil
}

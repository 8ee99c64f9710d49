package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prosa-chat/prosa/services/internal/erasure"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// ErrErased says that the person was erased after the message of a turn was accepted. Nothing was stored.
var ErrErased = errors.New("the person was erased")

// openedIn is the table whose INSERT looks for erasures: nothing of a person is stored without a conversation.
const openedIn = "conversation"

// The kinds of things that erasing counts.
const (
	KindConversations = "conversations"
	KindTurns         = "turns"
)

// personWindow is how many conversations one query looks through for those of a person. There is no index of persons, for every
// conversation that opens would have to write it.
const personWindow = 10_000

const (
	conversationWindow = `SELECT id FROM conversation WHERE instance = $1 AND id > $2 ORDER BY id LIMIT 1 OFFSET $3`
	listWindow         = `SELECT id FROM chat_conversation WHERE instance = $1 AND id > $2 ORDER BY id LIMIT 1 OFFSET $3`
	conversationsIn    = `SELECT id, contact_id FROM conversation WHERE instance = $1 AND id > $2 AND id <= $3 AND identifier = $4 ORDER BY id`
	listedIn           = `SELECT id, '' FROM chat_conversation WHERE instance = $1 AND id > $2 AND id <= $3 AND identifier = $4 ORDER BY id`
	// lastID is behind every id.
	lastID = "g"
)

// PersonConversation names a conversation of a person.
type PersonConversation struct {
	ID string
	// ContactID is the person's; empty when nothing was said in the conversation.
	ContactID string
}

// PersonConversations finds the conversations of a person, those of every agent and endpoint, in the order of their ids. It looks at
// all conversations of the instance: some microseconds for each.
func (s *Store) PersonConversations(ctx context.Context, instance, identifier string) ([]PersonConversation, error) {
	var all []PersonConversation
	seen := make(map[string]bool)
	for _, table := range []struct{ window, in string }{{conversationWindow, conversationsIn}, {listWindow, listedIn}} {
		for from := ""; from != lastID; {
			to := lastID
			err := s.db.Reader().QueryRowContext(ctx, table.window, instance, from, personWindow).Scan(&to)
			if err != nil && !sqldb.IsNoRows(err) {
				return nil, fmt.Errorf("find conversations of person: %w", err)
			}
			found, err := s.conversationsWithin(ctx, table.in, instance, from, to, identifier)
			if err != nil {
				return nil, err
			}
			for _, c := range found {
				if !seen[c.ID] {
					seen[c.ID] = true
					all = append(all, c)
				}
			}
			from = to
		}
	}
	return all, nil
}

func (s *Store) conversationsWithin(ctx context.Context, query, instance, from, to, identifier string) ([]PersonConversation, error) {
	rows, err := s.db.Reader().QueryContext(ctx, query, instance, from, to, identifier)
	if err != nil {
		return nil, fmt.Errorf("find conversations of person: %w", err)
	}
	defer rows.Close()
	var found []PersonConversation
	for rows.Next() {
		var c PersonConversation
		if err := rows.Scan(&c.ID, &c.ContactID); err != nil {
			return nil, fmt.Errorf("find conversations of person: %w", err)
		}
		found = append(found, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find conversations of person: %w", err)
	}
	return found, nil
}

const countTurns = `SELECT coalesce(sum(last_turn), 0) FROM conversation WHERE instance = $1 AND id`

// CountPerson counts what EraseConversation would delete.
func (s *Store) CountPerson(ctx context.Context, instance string, conversations []PersonConversation) (map[string]int64, error) {
	counts := map[string]int64{KindConversations: int64(len(conversations))}
	ids := make([]string, len(conversations))
	for i, c := range conversations {
		ids[i] = c.ID
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, fmt.Errorf("count turns of person: %w", err)
	}
	var turns int64
	if err := s.db.Reader().QueryRowContext(ctx, countTurns+s.dialect.inList("$2"), instance, string(list)).Scan(&turns); err != nil {
		return nil, fmt.Errorf("count turns of person: %w", err)
	}
	counts[KindTurns] = turns
	return counts, nil
}

// BeginErasure stores the record of an erasure; see [erasure.Begin].
func (s *Store) BeginErasure(ctx context.Context, r erasure.Record) error {
	return erasure.Begin(ctx, s.db, r, openedIn)
}

const (
	eraseConversation = `DELETE FROM conversation WHERE instance = $1 AND id = $2 RETURNING last_turn_id`

	// eraseTurns follows the chain back from the last turn, $2.
	eraseTurns = `
WITH RECURSIVE chain(id, previous_id) AS (
    SELECT id, previous_id FROM turn WHERE instance = $1 AND id = $2 AND conversation_id = $3
    UNION ALL
    SELECT t.id, t.previous_id FROM chain c JOIN turn t ON t.instance = $1 AND t.id = c.previous_id WHERE t.conversation_id = $3
)
DELETE FROM turn WHERE instance = $1 AND id IN (SELECT id FROM chain) RETURNING id`
)

// eraseBeside are what else is kept by conversations, beside what EraseConversations takes out.
var eraseBeside = []string{
	`DELETE FROM pending_record WHERE instance = $1 AND conversation_id = $2`,
	`DELETE FROM refused_record WHERE instance = $1 AND conversation_id = $2`,
	`DELETE FROM chat_turn WHERE instance = $1 AND conversation_id = $2`,
}

// EraseConversation deletes a conversation with everything in it, in one transaction. A turn that is being computed on it finds it gone.
// It adds to counts how many there were of each kind, and gives the ids of its turns.
func (s *Store) EraseConversation(ctx context.Context, instance, id string, counts map[string]int64) (turns []string, err error) {
	if err := s.dialect.index.clear(ctx, s.db, instance, id); err != nil {
		return nil, fmt.Errorf("erase words of conversation: %w", err)
	}
	err = s.db.Erase(ctx, func(ctx context.Context, tx sqldb.Tx) (err error) {
		turns, err = s.deleteConversation(ctx, tx, instance, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("erase conversation: %w", err)
	}
	counts[KindConversations]++
	counts[KindTurns] += int64(len(turns))
	return turns, nil
}

// deleteConversation deletes the conversation's own row first: on PostgreSQL that waits for a turn that is being committed, and keeps
// later ones from it.
func (s *Store) deleteConversation(ctx context.Context, tx sqldb.Tx, instance, id string) (turns []string, err error) {
	var last string
	err = tx.QueryRowContext(ctx, eraseConversation, instance, id).Scan(&last)
	if err != nil && !sqldb.IsNoRows(err) {
		return nil, err
	}
	if err := s.EraseConversations(ctx, tx, instance, []string{id}); err != nil {
		return nil, err
	}
	for _, statement := range eraseBeside {
		if _, err := tx.ExecContext(ctx, statement, instance, id); err != nil {
			return nil, err
		}
	}
	rows, err := tx.QueryContext(ctx, eraseTurns, instance, last, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var turn string
		if err := rows.Scan(&turn); err != nil {
			return nil, err
		}
		turns = append(turns, turn)
	}
	return turns, rows.Err()
}

// ForgetKeys deletes the idempotency records that are about the given ids.
func (s *Store) ForgetKeys(ctx context.Context, instance string, ids map[string]bool) error {
	_, err := idempotency.Forget(ctx, s.db, instance, func(id string) bool { return ids[id] })
	return err
}

// FinishErasure notes that everything was deleted.
func (s *Store) FinishErasure(ctx context.Context, r erasure.Record, now time.Time) error {
	return erasure.Finish(ctx, s.db, r, now)
}

// MissingErasures are those that the store does not know to be done.
func (s *Store) MissingErasures(ctx context.Context, records []erasure.Record) ([]erasure.Record, error) {
	return erasure.Missing(ctx, s.db.Reader(), records)
}

const (
	identifiersIn       = `SELECT DISTINCT identifier FROM conversation WHERE instance = $1 AND id > $2 AND id <= $3`
	listedIdentifiersIn = `SELECT DISTINCT identifier FROM chat_conversation WHERE instance = $1 AND id > $2 AND id <= $3`
	// listed marks the cursor of Identifiers while it is in the second table.
	listed = "listed/"
)

// Identifiers are the identifiers of an instance's persons, of some conversations at a time; see [erasure.Identifiers].
func (s *Store) Identifiers(ctx context.Context, instance, cursor string) (page []string, next string, err error) {
	from, second := strings.CutPrefix(cursor, listed)
	window, in := conversationWindow, identifiersIn
	if second {
		window, in = listWindow, listedIdentifiersIn
	}
	to := lastID
	if err := s.db.Reader().QueryRowContext(ctx, window, instance, from, personWindow).Scan(&to); err != nil && !sqldb.IsNoRows(err) {
		return nil, "", fmt.Errorf("list identifiers: %w", err)
	}
	rows, err := s.db.Reader().QueryContext(ctx, in, instance, from, to)
	if err != nil {
		return nil, "", fmt.Errorf("list identifiers: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var identifier string
		if err := rows.Scan(&identifier); err != nil {
			return nil, "", fmt.Errorf("list identifiers: %w", err)
		}
		page = append(page, identifier)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("list identifiers: %w", err)
	}
	switch {
	case to != lastID && second:
		next = listed + to
	case to != lastID:
		next = to
	case !second:
		next = listed
	}
	return page, next, nil
}

// refusesOpening reports whether a turn that opens a conversation is of a person who was erased since its message came.
func (s *Store) refusesOpening(ctx context.Context, t *Turn) (bool, error) {
	if t.Conversation.LastTurn > 0 {
		return false, nil
	}
	return erasure.Refuses(ctx, s.db.Reader(), t.Person)
}

// guarded is a commit of turns on SQLite that refuses those which would open a conversation of somebody who was erased.
func guarded(guard *erasure.Guard, commit func(ctx context.Context, tx sqldb.Tx, turns []*Turn) error) func(context.Context, sqldb.Tx, []*Turn) error {
	return func(ctx context.Context, tx sqldb.Tx, turns []*Turn) error {
		for _, t := range turns {
			if t.Conversation.LastTurn > 0 {
				continue
			}
			erased, err := guard.Refuses(ctx, tx, t.Person)
			if err != nil {
				return err
			}
			if erased {
				return ErrErased
			}
		}
		return commit(ctx, tx, turns)
	}
}

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Words make of conversations what they are found by, folded. Each is short enough to be put into the index at once.
type Words interface {
	// Turn is what was said in a turn; Answer and Record are as in store.Turn.
	Turn(answer, record []byte) string
	// Head is what a conversation is found by itself.
	Head(conversationID, identifier string) string
}

// Unindexed is a turn that is not in the index yet.
type Unindexed struct {
	ConversationID, Identifier, AgentID, Source string
	Said
}

// maxTail is how many turns that are not in the index yet are looked at one by one. With more of them, which a store under full load
// may have, the others are found when they are in it.
const maxTail = 2000

// searchIndex is how an engine finds texts. Turns are put into it behind their commit, and everything else when it is stored.
type searchIndex interface {
	// indexTurns puts up to limit turns, in the order of a conversation, into the index, and the conversations that they opened into the
	// list. It counts them.
	indexTurns(ctx context.Context, db *sqldb.DB, limit int, words Words) (int, error)
	addHead(ctx context.Context, tx sqldb.Tx, instance, conversationID, head string) error
	setMetadata(ctx context.Context, tx sqldb.Tx, instance, conversationID, words string) error
	// erase takes the conversations of a JSON list out.
	erase(ctx context.Context, tx sqldb.Tx, instance, list string) error
	// clear takes out most of a conversation before it is erased, where erase would hold up others for too long.
	clear(ctx context.Context, db *sqldb.DB, instance, conversationID string) error

	// foundText and foundMetadata are queries for the ids of conversations that have a folded text in a message or their head, and in a
	// value of their metadata. A text for foundText has three characters or more.
	foundText(q *conversationQuery, text string) string
	foundMetadata(q *conversationQuery, text string) string
	// contains is the condition that a column has a text.
	contains(column, text string) string

	// fresh and unindexed are queries about turns that are not in the index yet, at most $2 of them, of instance $1: the ids of their
	// conversations, and what is in Unindexed.
	fresh() string
	unindexed() string
	// oldest is a query for when the first turn was made that waits for indexTurns, of at most $1 in any instance.
	oldest() string
}

// IndexTurns puts up to limit finished turns into the index that SearchConversations uses, and the conversations that they opened into
// the list. It returns how many: less than limit, and more than none, does not mean that there are no more. What it did it does not do
// again, but for a crash; then it comes to the same.
func (s *Store) IndexTurns(ctx context.Context, limit int, words Words) (int, error) {
	n, err := s.dialect.index.indexTurns(ctx, s.db, limit, words)
	if err != nil {
		return 0, fmt.Errorf("index turns: %w", err)
	}
	return n, nil
}

// FreshConversations gives the conversations of an instance that have turns which are not in the index yet. Those that were just opened
// are not listed otherwise.
func (s *Store) FreshConversations(ctx context.Context, instance string) ([]string, error) {
	rows, err := s.db.Reader().QueryContext(ctx, s.dialect.index.fresh(), instance, maxTail)
	if err != nil {
		return nil, fmt.Errorf("read fresh conversations: %w", err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read fresh conversations: %w", err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read fresh conversations: %w", err)
	}
	return ids, nil
}

// Unindexed gives the turns of an instance that are not in the index yet.
func (s *Store) Unindexed(ctx context.Context, instance string) ([]Unindexed, error) {
	rows, err := s.db.Reader().QueryContext(ctx, s.dialect.index.unindexed(), instance, maxTail)
	if err != nil {
		return nil, fmt.Errorf("read turns behind the index: %w", err)
	}
	defer rows.Close()
	var turns []Unindexed
	for rows.Next() {
		var t Unindexed
		if err := rows.Scan(&t.ConversationID, &t.Identifier, &t.AgentID, &t.Source, &t.Answer, &t.Record); err != nil {
			return nil, fmt.Errorf("read turns behind the index: %w", err)
		}
		turns = append(turns, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read turns behind the index: %w", err)
	}
	return turns, nil
}

// EraseConversations takes out, inside tx, all that is kept about conversations of an instance beside their rows and turns: list,
// metadata, survey, feedback, and their words in the index. Those that are not there are left out. tx deletes their rows before, so that
// nobody adds to what is taken out here, and their turns before or after: one that is being put into the index at this moment stays out.
func (s *Store) EraseConversations(ctx context.Context, tx sqldb.Tx, instance string, ids []string) error {
	raw, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("erase conversations: %w", err)
	}
	list := string(raw)
	for _, statement := range s.dialect.eraseConversations {
		if _, err := tx.ExecContext(ctx, statement, instance, list); err != nil {
			return fmt.Errorf("erase conversations: %w", err)
		}
	}
	if err := s.dialect.index.erase(ctx, tx, instance, list); err != nil {
		return fmt.Errorf("erase conversations from index: %w", err)
	}
	return nil
}

// listOpened puts a conversation into the list, unless it is there; $3 is what it is found by.
const listOpened = `
INSERT INTO chat_conversation (instance, id, agent_id, identifier, source, head, create_time)
SELECT instance, id, agent_id, identifier, source, $3, create_time FROM conversation WHERE instance = $1 AND id = $2
ON CONFLICT (instance, id) DO NOTHING`

// maxIndexing bounds the words, in bytes, that one transaction puts into the index, so that it holds up nobody for long.
const maxIndexing = 32 << 10

// IndexingPause is how long whoever calls IndexTurns waits for each unit of time that a call took, so that the turns which are committed
// meanwhile keep nine tenths of the store.
func IndexingPause(took time.Duration) time.Duration { return 9 * took }

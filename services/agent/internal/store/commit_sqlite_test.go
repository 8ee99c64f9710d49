package store

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// queryPlan is what SQLite says of how it runs a statement.
func queryPlan(t *testing.T, db *sqldb.DB, statement string, args ...any) []string {
	t.Helper()
	rows, err := db.Reader().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement, args...)
	require.NoError(t, err)
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
		plan = append(plan, detail)
	}
	require.NoError(t, rows.Err())
	return plan
}

// A scan of the conversations would make every commit slower with every conversation there ever was.
func TestConversationsAreMovedByKey(t *testing.T) {
	db := openSQLite(t)
	for _, b := range []*bulk{continueConversations, finishConversations} {
		for _, statement := range b.statements {
			plan := queryPlan(t, db, statement, make([]any, strings.Count(statement, "?"))...)
			require.Contains(t, plan[len(plan)-1], "SEARCH c USING INDEX sqlite_autoindex_conversation_1 (instance=? AND id=?)", statement)
			require.NotContains(t, strings.Join(plan, "\n"), "SCAN c")
		}
	}
}

func TestRecordsAreDeletedByKey(t *testing.T) {
	plan := strings.Join(queryPlan(t, openSQLite(t), sqliteDialect.deleteRecords, "i", "[]", "n", "h", 1), "\n")
	require.Contains(t, plan, "SEARCH pending_record USING COVERING INDEX sqlite_autoindex_pending_record_1 "+
		"(instance=? AND conversation_id=? AND turn_number=?)")
}

func openSQLite(t *testing.T) *sqldb.DB {
	t.Helper()
	return testkit.Open(t, testkit.Options(t, sqldb.SQLite, Migrations(), "agent"))
}

// batch is turns to be committed together.
type batch []*turnRow

// add adds a turn of a conversation of acme, which opens it when it is the first.
func (b *batch) add(conversation, turn string, lastTurn int64, change ...func(*Turn)) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	t := &Turn{
		Lane: Lane{Instance: "acme", AgentID: "a1", EndpointID: "e1", Identifier: conversation}, ID: turn, Source: "api",
		Conversation: Conversation{ID: conversation, ContactID: "p", AgentVersion: 1, LastTurn: lastTurn, LastItem: 2 * lastTurn, FlowState: []byte(turn)},
		Answer:       []byte("answer of " + turn), Record: []byte("record of " + turn),
		User: &Item{ID: turn, Body: []byte("user of " + turn), Time: at}, Bot: &Item{ID: "b" + turn, Body: []byte("bot of " + turn), Time: at},
		Time: at,
	}
	for _, f := range change {
		f(t)
	}
	*b = append(*b, newTurnRow(t))
}

func (b batch) write(t *testing.T, db *sqldb.DB) error {
	t.Helper()
	return db.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error { return writeTurns(ctx, tx, b) })
}

// refused are the ids of the turns that were not committed.
func (b batch) refused() []string {
	var ids []string
	for _, r := range b {
		if !r.committed {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func count(t *testing.T, db *sqldb.DB, from string) int {
	t.Helper()
	var n int
	require.NoError(t, db.Reader().QueryRowContext(t.Context(), "SELECT count(*) FROM "+from).Scan(&n))
	return n
}

// requireWhole checks that everything of a number of turns is there, and nothing else.
func requireWhole(t *testing.T, db *sqldb.DB, turns int) {
	t.Helper()
	require.Equal(t, turns, count(t, db, "turn"))
	require.Equal(t, turns, count(t, db, "pending_record"))
	require.Equal(t, 2*turns, count(t, db, "message"))
	require.Equal(t, turns, count(t, db, `turn t JOIN pending_record p ON p.conversation_id = t.conversation_id AND p.turn_number = t.number
		AND CAST(t.answer AS TEXT) = 'answer of ' || t.id AND CAST(p.record AS TEXT) = 'record of ' || t.id AND t.instance = p.instance`))
	require.Equal(t, 2*turns, count(t, db, `turn t JOIN message m ON m.turn_id = t.id AND m.instance = t.instance
		AND m.conversation_id = t.conversation_id AND m.seq = 2 * t.number - (m.sender = 'user')
		AND CAST(m.body AS TEXT) = m.sender || ' of ' || t.id AND m.id = CASE m.sender WHEN 'bot' THEN 'b' ELSE '' END || t.id`))
	require.Equal(t, count(t, db, "conversation"), count(t, db, `conversation c JOIN turn t ON t.instance = c.instance
		AND t.conversation_id = c.id AND t.number = c.last_turn AND c.last_item = 2 * c.last_turn AND CAST(c.flow_state AS TEXT) = t.id`))
}

func TestBatchOfManyTurns(t *testing.T) {
	db := openSQLite(t)
	const conversations = 127 // one statement of each size
	var opening batch
	for i := range conversations {
		opening.add("c"+strconv.Itoa(i), "m"+strconv.Itoa(i), 0)
	}
	require.NoError(t, opening.write(t, db))
	require.Empty(t, opening.refused())
	requireWhole(t, db, conversations)

	var next batch
	for i := range conversations {
		next.add("c"+strconv.Itoa(i), "n"+strconv.Itoa(i), 1, func(t *Turn) {
			switch i {
			case 20:
				t.Conversation.Epoch = 1
			case 40:
				t.Lane.Instance = "other"
			case 60:
				t.Finished = true
			case 80:
				t.Conversation.LastTurn = 2
			}
		})
	}
	next.add("new", "n-new", 0)
	require.NoError(t, next.write(t, db))
	require.Equal(t, []string{"n20", "n40", "n80"}, next.refused(), "and the others are committed")
	requireWhole(t, db, 2*conversations-3+1)
	require.Equal(t, 1, count(t, db, "conversation WHERE state = 'FINISHED' AND id = 'c60' AND finish_time = update_time"))
	require.Equal(t, conversations, count(t, db, "conversation WHERE state = 'OPEN' AND finish_time IS NULL"))
}

func TestTurnsOfOneConversationInABatch(t *testing.T) {
	db := openSQLite(t)
	var b batch
	b.add("c1", "m1", 0)
	b.add("c1", "m2", 1)
	b.add("c1", "late", 1)
	b.add("c1", "m3", 2, func(t *Turn) { t.Finished = true })
	b.add("c1", "never", 3)
	require.NoError(t, b.write(t, db))
	require.Equal(t, []string{"late", "never"}, b.refused())
	requireWhole(t, db, 3)
}

func TestOpeningsThatMeetInABatch(t *testing.T) {
	db := openSQLite(t)
	var b batch
	b.add("c1", "m1", 0)
	b.add("c1", "m1", 0)
	b.add("c2", "m2", 0, func(t *Turn) { t.Lane.Identifier = "c1" })
	b.add("c1", "m1", 0, func(t *Turn) { t.Lane.Instance = "other" })
	require.NoError(t, b.write(t, db))
	committed := []bool{b[0].committed, b[1].committed, b[2].committed, b[3].committed}
	require.Equal(t, []bool{true, false, false, true}, committed)
	requireWhole(t, db, 2)
}

func TestConversationThatMakesRoom(t *testing.T) {
	db := openSQLite(t)
	var b batch
	b.add("c1", "m1", 0)
	require.NoError(t, b.write(t, db))
	b = nil
	b.add("c2", "m3", 0, func(t *Turn) { t.Lane.Identifier = "c1" })
	b.add("c1", "m2", 1, func(t *Turn) { t.Finished = true })
	require.NoError(t, b.write(t, db))
	require.Empty(t, b.refused())
	requireWhole(t, db, 3)
}

func TestStoredTurnFailsTheBatch(t *testing.T) {
	db := openSQLite(t)
	var b batch
	b.add("c1", "m1", 0)
	require.NoError(t, b.write(t, db))
	b = nil
	b.add("c2", "m2", 0)
	b.add("c3", "m1", 0)
	require.True(t, sqldb.IsUnique(b.write(t, db)))
	requireWhole(t, db, 1)
}

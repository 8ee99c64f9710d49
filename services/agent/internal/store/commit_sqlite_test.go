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
	for _, b := range []*bulk{continueConversations, handOverConversations, finishConversations} {
		for _, statement := range b.statements {
			plan := queryPlan(t, db, statement, make([]any, strings.Count(statement, "?"))...)
			require.Contains(t, plan[len(plan)-1], "SEARCH c USING INDEX sqlite_autoindex_conversation_1 (instance=? AND id=?)", statement)
			require.NotContains(t, strings.Join(plan, "\n"), "SCAN c")
		}
	}
}

func TestRecordsAreDeletedByKey(t *testing.T) {
	db := openSQLite(t)
	for _, statement := range deleteRecords.statements {
		plan := strings.Join(queryPlan(t, db, statement, make([]any, strings.Count(statement, "?"))...), "\n")
		require.Contains(t, plan, "SEARCH pending_record USING PRIMARY KEY (instance=? AND conversation_id=? AND turn_number=?)")
	}
}

func TestPendingRecordsAreReadByKey(t *testing.T) {
	db := openSQLite(t)
	require.Equal(t, []string{"SEARCH pending_record USING PRIMARY KEY ((instance,conversation_id,turn_number)>(?,?,?))"},
		queryPlan(t, db, pendingRecords, "", "", 0, 10))
	require.Equal(t, "SEARCH turn USING INDEX sqlite_autoindex_turn_1 (instance=? AND id=?)",
		queryPlan(t, db, sqliteDialect.readTurns, "i", "[]")[0])
}

// The sweep of silent conversations never looks at those that ended, which are nearly all there ever were.
func TestSilentConversationsAreFoundAmongTheOpenOnes(t *testing.T) {
	db := openSQLite(t)
	require.Equal(t, []string{"SEARCH conversation USING INDEX conversation_open_since (instance=? AND (create_time,id)>(?,?) AND create_time<?)"},
		queryPlan(t, db, silent, "i", 1, 0, "", 10))
	plan := queryPlan(t, db, nextOpenInstance, "i")
	require.Len(t, plan, 1)
	require.Regexp(t, `^SEARCH conversation USING COVERING INDEX conversation_open\w* \(instance>\?\)$`, plan[0])
	for _, statement := range []string{sqliteDialect.finishSilent, sqliteDialect.recordEnds, sqliteDialect.readEnds} {
		plan := strings.Join(queryPlan(t, db, statement, "i", "[]", 1, 1), "\n")
		require.Contains(t, plan, "SEARCH conversation USING INDEX sqlite_autoindex_conversation_1 (instance=? AND id=?)", statement)
	}
}

func openSQLite(t *testing.T) *sqldb.DB {
	t.Helper()
	return testkit.Open(t, testkit.Options(t, sqldb.SQLite, Migrations(), "agent"))
}

// batch is turns to be committed together.
type batch []*Turn

// add adds a turn of a conversation of acme, which opens it when it is the first.
func (b *batch) add(conversation, turn string, lastTurn int64, change ...func(*Turn)) {
	t := &Turn{
		Lane: Lane{Instance: "acme", AgentID: "a1", EndpointID: "e1", Identifier: conversation}, ID: turn, Source: "api",
		Conversation: Conversation{ID: conversation, ContactID: "p", AgentVersion: 1, LastTurn: lastTurn, FlowState: []byte(turn)},
		Answer:       []byte("answer of " + turn), Record: []byte("record of " + turn), Messages: 2,
		Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	for _, f := range change {
		f(t)
	}
	*b = append(*b, t)
}

func (b batch) write(t *testing.T, db *sqldb.DB) error {
	t.Helper()
	return db.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error { return writeTurns(ctx, tx, b) })
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
	require.Equal(t, turns, count(t, db, `turn t JOIN pending_record p ON p.conversation_id = t.conversation_id AND p.turn_number = t.number
		AND p.turn_id = t.id AND p.instance = t.instance
		AND CAST(t.answer AS TEXT) = 'answer of ' || t.id AND CAST(t.record AS TEXT) = 'record of ' || t.id`))
	require.Equal(t, count(t, db, "conversation"), count(t, db, `conversation c JOIN turn t ON t.instance = c.instance AND t.id = c.last_turn_id
		AND t.conversation_id = c.id AND t.number = c.last_turn AND c.messages = 2 * c.last_turn AND CAST(c.flow_state AS TEXT) = t.id`))
}

const conversations = 127 // one statement of each size

// opened is a store in which c0, c1 and so on are open.
func opened(t *testing.T) *sqldb.DB {
	t.Helper()
	db := openSQLite(t)
	var b batch
	for i := range conversations {
		b.add("c"+strconv.Itoa(i), "m"+strconv.Itoa(i), 0)
	}
	require.NoError(t, b.write(t, db))
	requireWhole(t, db, conversations)
	return db
}

func TestBatchOfManyTurns(t *testing.T) {
	db := opened(t)
	var b batch
	for i := range conversations {
		b.add("c"+strconv.Itoa(i), "n"+strconv.Itoa(i), 1, func(t *Turn) { t.Finished = i == 60 })
	}
	b.add("new", "n-new", 0)
	require.NoError(t, b.write(t, db))
	requireWhole(t, db, 2*conversations+1)
	require.Equal(t, 1, count(t, db, "conversation WHERE state = 'FINISHED' AND id = 'c60' AND finish_time = update_time"))
	require.Equal(t, conversations, count(t, db, "conversation WHERE state = 'OPEN' AND finish_time IS NULL"))
}

// One turn that cannot be committed undoes the batch, whatever it is; the batcher then tries each by itself.
func TestOvertakenTurnFailsTheBatch(t *testing.T) {
	for name, change := range map[string]func(*Turn){
		"epoch":    func(t *Turn) { t.Conversation.Epoch = 1 },
		"instance": func(t *Turn) { t.Lane.Instance = "other" },
		"count":    func(t *Turn) { t.Conversation.LastTurn = 2 },
		"end":      func(t *Turn) { t.Finished, t.Conversation.LastTurn = true, 2 },
		"twice":    func(t *Turn) { t.Conversation.ID = "c1" },
	} {
		t.Run(name, func(t *testing.T) {
			db := opened(t)
			var b batch
			b.add("new", "n-new", 0)
			for i := range 3 {
				b.add("c"+strconv.Itoa(i), "n"+strconv.Itoa(i), 1, func(t *Turn) {
					if i == 2 {
						change(t)
					}
				})
			}
			require.ErrorIs(t, b.write(t, db), ErrConflict)
			requireWhole(t, db, conversations)
			require.NoError(t, b[:3].write(t, db), "and without it the others are committed")
			requireWhole(t, db, conversations+3)
		})
	}
}

func TestStoredTurnFailsTheBatch(t *testing.T) {
	for name, change := range map[string]func(*Turn){
		"turn":         func(t *Turn) { t.ID = "m1" },
		"conversation": func(t *Turn) { t.Conversation.ID = "c1" },
		"lane":         func(t *Turn) { t.Lane.Identifier = "c1" },
	} {
		t.Run(name, func(t *testing.T) {
			db := opened(t)
			var b batch
			b.add("c2", "n2", 1)
			b.add("new", "n-new", 0, change)
			require.True(t, sqldb.IsUnique(b.write(t, db)))
			requireWhole(t, db, conversations)
		})
	}
}

func TestConversationThatMakesRoom(t *testing.T) {
	db := opened(t)
	var b batch
	b.add("new", "n2", 0, func(t *Turn) { t.Lane.Identifier = "c1" })
	b.add("c1", "n1", 1, func(t *Turn) { t.Finished = true })
	require.NoError(t, b.write(t, db))
	requireWhole(t, db, conversations+2)
}

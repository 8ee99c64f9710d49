package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/pagetoken"
)

// plan is how SQLite carries out a query.
func plan(t *testing.T, f *ConversationFilter, write func(q *conversationQuery)) []string {
	t.Helper()
	db := openSQLite(t)
	q := New(db).newQuery(f)
	write(q)
	return queryPlan(t, db, q.text.String(), q.args...)
}

// A page is read along the index, in its order and no further; nothing is sorted but the page.
func TestPagesAreReadInOrder(t *testing.T) {
	f := &ConversationFilter{Instance: "acme"}
	lines := plan(t, f, func(q *conversationQuery) { q.page(f, false, pagetoken.Place{}, 26) })
	require.Contains(t, strings.Join(lines, "\n"), "SEARCH h USING INDEX chat_conversation_created (instance=? AND create_time>? AND create_time<?)")
	for i, line := range lines {
		if strings.Contains(line, "chat_conversation_created") {
			require.NotContains(t, strings.Join(lines[:i], "\n"), "B-TREE")
		}
		require.NotRegexp(t, `^SCAN (h|c|n|a) USING|^SCAN (chat_conversation|conversation|turn)`, line)
	}
	require.Contains(t, strings.Join(plan(t, f, func(q *conversationQuery) { q.count(f) }), "\n"),
		"USING COVERING INDEX chat_conversation_created (instance=? AND create_time>? AND create_time<?)")
}

// A search begins with what the index finds; a scan of the conversations would make each search slower with each conversation.
func TestSearchesBeginWithTheIndex(t *testing.T) {
	f := &ConversationFilter{Instance: "acme", Search: &Search{Text: "segunda via", Messages: true}}
	lines := plan(t, f, func(q *conversationQuery) {
		require.True(t, q.found(f))
		q.counted(f, 26)
	})
	all := strings.Join(lines, "\n")
	require.Contains(t, all, "SCAN search_text VIRTUAL TABLE INDEX")
	require.Contains(t, all, "SEARCH h USING INDEX sqlite_autoindex_chat_conversation_1 (instance=? AND id=?)")
	require.NotContains(t, all, "chat_conversation_created")
}

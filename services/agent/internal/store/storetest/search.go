package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// search gives the conversations of acme that have a text.
func (f *fixture) search(t *testing.T, instance, text string) []string {
	t.Helper()
	return f.walk(t, store.ConversationFilter{Instance: instance, Search: &store.Search{Text: text, Messages: len([]rune(text)) >= 3}})
}

func textsAreFound(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	for i, said := range []string{
		"quero uma reuniao amanha", "100% de desconto_agora", `ele disse "sim" and not (nao) *`, "a\nb", "👍🏽👍🏽👍🏽 legal", "nada", "100x de desconto agora",
	} {
		f.say(t, "acme", fmt.Sprintf("c%d", i), said, start.Add(time.Duration(i)*time.Second))
	}
	f.say(t, "other", "o1", "quero uma reuniao amanha", start)
	f.chat(t, store.NewChat{Instance: "acme", ID: "chat", AgentID: "a1", Identifier: "maria da silva"})
	f.index(t)
	for text, want := range map[string][]string{
		"reuniao": {"c0"}, "uma reuniao a": {"c0"}, "ero": {"c0"}, "reunião": {}, "quero  uma": {}, "amanha quero": {},
		"100%": {"c1"}, "0% d": {"c1"}, "to_a": {"c1"}, "100": {"c6", "c1"},
		`"sim"`: {"c2"}, `" and not (`: {"c2"}, "(nao) *": {"c2"}, "sim and": {}, "nao": {"c2"}, `'; drop table turn; --`: {}, `rowid:1`: {}, `nada*`: {}, `text : nada`: {},
		"a\nb": {"c3"}, "👍🏽👍🏽": {"c4"}, "🏽👍🏽 le": {"c4"},
		"c4|p": {"c4"}, "person c": {"c6", "c5", "c4", "c3", "c2", "c1", "c0"}, "maria da": {"chat"}, "chat|": {"chat"},
		// Too short for messages.
		"c5": {"c5"}, "na": {}, "ma": {"chat"}, "%": {}, "|": {"c6", "c5", "c4", "c3", "c2", "c1", "chat", "c0"},
	} {
		require.Equal(t, want, f.search(t, "acme", text), text)
	}
	require.Equal(t, []string{"o1"}, f.search(t, "other", "reuniao"))
	require.Empty(t, f.search(t, "none", "reuniao"))
	require.Empty(t, f.search(t, "none", "c0"))
	require.Equal(t, []string{"c1"}, f.walk(t, store.ConversationFilter{
		Instance: "acme", Search: &store.Search{Text: "desconto", Messages: true}, Until: start.Add(5 * time.Second),
	}))
}

// What is found by an agent or a source, or was found outside of the index, is one list with what the index finds.
func searchesAreJoined(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "acme", "a2")
	f.say(t, "acme", "c1", "pedido atrasado", start)
	f.say(t, "acme", "c2", "nada", start.Add(time.Second))
	f.chat(t, store.NewChat{Instance: "acme", ID: "c3", AgentID: "a2", CreateTime: start.Add(2 * time.Second)})
	f.index(t)
	f.say(t, "acme", "c4", "fresco", start.Add(3*time.Second))
	for _, test := range []struct {
		search store.Search
		want   []string
	}{
		{store.Search{Text: "pedido", Messages: true, Agents: []string{"a2"}}, []string{"c3", "c1"}},
		{store.Search{Text: "pedido", Messages: true, Sources: []string{"api"}}, []string{"c2", "c1"}},
		{store.Search{Text: "pedido", Messages: true, Agents: []string{"a2"}, Sources: []string{"api"}, Found: []string{"c4"}}, []string{"c4", "c3", "c2", "c1"}},
		{store.Search{Text: "pedido", Messages: true, Found: []string{"c4", "c1"}}, []string{"c4", "c1"}},
		{store.Search{Text: "x", Agents: []string{"a2"}}, []string{"c3"}},
	} {
		require.Equal(t, test.want, f.walk(t, store.ConversationFilter{Instance: "acme", Search: &test.search}), "%+v", test.search)
	}
}

func metadataIsFound(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	for _, instance := range []string{"acme", "other"} {
		f.chat(t, store.NewChat{Instance: instance, ID: "c1", AgentID: "a1", Metadata: []byte{1}, MetadataWords: "plano ouro"})
	}
	f.say(t, "acme", "c2", "plano prata", start.Add(time.Second))
	set := func(id, found string) {
		require.NoError(t, f.store.ChangeMetadata(t.Context(), "acme", id, start, func([]byte) ([]byte, string, error) { return []byte{2}, found, nil }))
	}
	meta := func(text string) []string {
		return f.walk(t, store.ConversationFilter{Instance: "acme", Metadata: text})
	}
	for range 2 { // before it is in the index, and after
		set("c2", "plano bronze")
		require.Equal(t, []string{"c2", "c1"}, meta("plano"))
		require.Equal(t, []string{"c2", "c1"}, meta("o"))
		require.Empty(t, meta("prata"), "that was said")
		set("c2", "nenhum")
		require.Equal(t, []string{"c1"}, meta("plano"))
		require.Equal(t, []string{"c2"}, meta("nen"))
		f.index(t)
	}
	require.Empty(t, f.search(t, "acme", "ouro"), "that is metadata")
	both := store.ConversationFilter{Instance: "acme", Metadata: "nenhum", Search: &store.Search{Text: "prata", Messages: true}}
	require.Equal(t, []string{"c2"}, f.walk(t, both))
	both.Metadata = "ouro"
	require.Empty(t, f.walk(t, both))
}

// Turns that are not in the index yet are given to who looks, and to nobody else.
func unindexedTurnsAreGiven(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	f.say(t, "acme", "c1", "um", start)
	f.say(t, "other", "o1", "dois", start)
	behind := func() []string {
		turns, err := f.store.Unindexed(t.Context(), "acme")
		require.NoError(t, err)
		var said []string
		for _, u := range turns {
			require.Equal(t, "api", u.Source)
			require.Equal(t, "a1", u.AgentID)
			require.NotEmpty(t, u.Identifier)
			said = append(said, u.ConversationID+" "+string(u.Answer))
		}
		return said
	}
	require.Equal(t, []string{"c1 um"}, behind())
	fresh, err := f.store.FreshConversations(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, []string{"c1"}, fresh)
	f.index(t)
	require.Empty(t, behind())
	f.converse(t, "acme", "c2", 2)
	require.ElementsMatch(t, []string{"c2 answer of c2-1", "c2 answer of c2-2"}, behind())
}

// Putting a turn into the index twice comes to the same.
func indexingIsRepeatable(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.converse(t, "acme", "c1", 150)
	f.index(t)
	require.Equal(t, []string{"c1"}, f.search(t, "acme", "answer of c1-150"))
	n, err := f.store.IndexTurns(t.Context(), 10, words{})
	require.NoError(t, err)
	require.Zero(t, n)
	if f.db.Dialect() == sqldb.SQLite {
		_, err = f.db.Exec1(t.Context(), `UPDATE search_mark SET last_row = 0, turn_id = ''`)
	} else {
		_, err = f.db.Exec1(t.Context(), `INSERT INTO search_pending SELECT instance, conversation_id, number, id FROM turn`)
	}
	require.NoError(t, err)
	f.indexOnly(t)
	require.Equal(t, 151, f.count(t, `SELECT count(*) FROM search_text`), "the turns and the head")
	require.Equal(t, []string{"c1"}, f.search(t, "acme", "answer of c1-77"))
	f.requireWholeIndex(t)
}

// A conversation of the API is in the index before its first turn, with which it is put there again, beside others that have the same
// words: none of these is lost.
func whatIsReplacedTakesNothingElse(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	for i, id := range []string{"c1", "c2", "c3", "c4"} {
		at := start.Add(time.Duration(i) * time.Second)
		if i%2 == 0 {
			f.chat(t, store.NewChat{Instance: "acme", ID: id, AgentID: "a1", Identifier: "person", CreateTime: at})
		}
		f.say(t, "acme", id, "quero uma reuniao", at)
	}
	f.index(t)
	f.requireWholeIndex(t)
	require.Equal(t, []string{"c4", "c3", "c2", "c1"}, f.search(t, "acme", "person"))
	require.Equal(t, []string{"c4", "c3", "c2", "c1"}, f.search(t, "acme", "reuniao"))
}

// requireWholeIndex checks that the index of texts holds what the texts have. PostgreSQL's is kept by itself.
func (f *fixture) requireWholeIndex(t *testing.T) {
	t.Helper()
	if f.db.Dialect() != sqldb.SQLite {
		return
	}
	var verdict string
	require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&verdict))
	require.Equal(t, "ok", verdict)
}

// takeOut takes a conversation out with its turns.
func (f *fixture) takeOut(t *testing.T, instance, id string) {
	t.Helper()
	require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
		for _, statement := range []string{
			`DELETE FROM conversation WHERE instance = $1 AND id = $2`, `DELETE FROM turn WHERE instance = $1 AND conversation_id = $2`,
			`DELETE FROM pending_record WHERE instance = $1 AND conversation_id = $2`,
		} {
			if _, err := tx.ExecContext(ctx, statement, instance, id); err != nil {
				return err
			}
		}
		return f.store.EraseConversations(ctx, tx, instance, []string{id, "none"})
	}))
}

func erasedConversationsAreNotFound(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	for _, instance := range []string{"acme", "other"} {
		for _, id := range []string{"c1", "c2"} {
			f.say(t, instance, id, "segredo de "+id, start)
		}
	}
	f.index(t)
	note := func([]byte) ([]byte, string, error) { return []byte{1}, "segredo", nil }
	for _, id := range []string{"c1", "c2"} {
		require.NoError(t, f.store.ChangeMetadata(t.Context(), "acme", id, start, note))
		require.NoError(t, f.store.SetFeedback(t.Context(), "acme", id, id+"-1", "like", start))
	}
	f.takeOut(t, "acme", "c1")
	f.indexOnly(t)
	require.Equal(t, []string{"c2"}, f.search(t, "acme", "segredo"))
	require.Equal(t, []string{"c2"}, f.walk(t, store.ConversationFilter{Instance: "acme", Metadata: "segredo"}))
	require.Equal(t, []string{"c2"}, f.walk(t, store.ConversationFilter{Instance: "acme"}))
	require.Equal(t, []string{"c2", "c1"}, f.search(t, "other", "segredo"))
	for _, table := range []string{"chat_conversation", "conversation_note", "message_feedback"} {
		column := map[bool]string{true: "id", false: "conversation_id"}[table == "chat_conversation"]
		require.Zero(t, f.count(t, `SELECT count(*) FROM `+table+` WHERE instance = 'acme' AND `+column+` = 'c1'`), table)
	}
	require.Zero(t, f.count(t, `SELECT count(*) FROM search_text WHERE text = 'segredo de c1' AND `+
		map[bool]string{true: `rowid < (SELECT max(number) << 17 FROM search_conversation WHERE instance = 'acme')`, false: `instance = 'acme'`}[f.db.Dialect() == sqldb.SQLite]))
	require.ErrorIs(t, f.store.ChangeMetadata(t.Context(), "acme", "c1", start, note), store.ErrNotFound)
}

// A turn that was erased before it was put into the index never is, and those behind it are, whatever place they take.
func erasedTurnsStayOut(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.say(t, "acme", "c1", "primeiro", start)
	f.index(t)
	f.say(t, "acme", "c2", "segundo", start)
	f.takeOut(t, "acme", "c2")
	f.say(t, "acme", "c3", "terceiro", start)
	f.index(t)
	require.Empty(t, f.search(t, "acme", "segundo"))
	require.Equal(t, []string{"c3"}, f.search(t, "acme", "terceiro"))

	// What was last in the index goes, and others come in its place before anybody looks.
	f.say(t, "acme", "c4", "quarto", start)
	f.say(t, "acme", "c5", "quinto", start)
	f.index(t)
	f.takeOut(t, "acme", "c4")
	f.takeOut(t, "acme", "c5")
	f.say(t, "acme", "c6", "sexto", start)
	f.say(t, "acme", "c7", "setimo", start)
	f.say(t, "acme", "c8", "oitavo", start)
	f.index(t)
	f.index(t)
	for text, want := range map[string][]string{"quarto": {}, "quinto": {}, "sexto": {"c6"}, "setimo": {"c7"}, "oitavo": {"c8"}, "primeiro": {"c1"}} {
		require.Equal(t, want, f.search(t, "acme", text), text)
	}
	require.Equal(t, []string{"c8", "c7", "c6", "c3", "c1"}, f.walk(t, store.ConversationFilter{Instance: "acme"}))
	f.takeOut(t, "acme", "c8")
	f.index(t)
	f.say(t, "acme", "c9", "nono", start)
	f.index(t)
	require.Equal(t, []string{"c9"}, f.search(t, "acme", "nono"))
}

// A conversation of many turns leaves the index whole, a few rows at a time where that takes long.
func longConversationsLeaveTheIndex(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.converse(t, "acme", "c1", 35)
	f.say(t, "acme", "c2", "answer of c1-1", start)
	f.index(t)
	require.Equal(t, []string{"c2", "c1"}, f.search(t, "acme", "answer of c1-1"))
	_, err := f.store.EraseConversation(t.Context(), "acme", "c1", map[string]int64{})
	require.NoError(t, err)
	require.Equal(t, []string{"c2"}, f.search(t, "acme", "answer of c1-1"))
	require.Equal(t, 2, f.count(t, `SELECT count(*) FROM search_text`), "that of the other, and its head")
}

// However long a turn, it is found by all that Words gives.
func longTextsAreFound(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.say(t, "acme", "c1", strings.Repeat("palavra ", 8<<10)+"agulha", start)
	f.say(t, "acme", "c2", "curto", start)
	f.index(t)
	require.Equal(t, []string{"c1"}, f.search(t, "acme", "palavra agulha"))
	require.Equal(t, []string{"c2"}, f.search(t, "acme", "curto"))
	require.Equal(t, []string{"c1"}, f.search(t, "acme", strings.Repeat("palavra ", 30)+"palavra"))
}

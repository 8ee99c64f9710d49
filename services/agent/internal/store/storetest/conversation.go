package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// words are what the conversations of these tests are found by: the answers of their turns in small letters, and their identifiers.
type words struct{}

func (words) Turn(answer, _ []byte) string { return strings.ToLower(string(answer)) }

func (words) Head(id, identifier string) string { return id + "|" + strings.ToLower(identifier) }

// index puts all turns into the index, after contacts has got them.
func (f *fixture) index(t *testing.T) {
	t.Helper()
	f.handOver(t)
	f.indexOnly(t)
}

// handOver gives all pending records to contacts.
func (f *fixture) handOver(t *testing.T) {
	t.Helper()
	records, err := f.store.PendingRecords(t.Context(), store.RecordKey{}, 100_000)
	require.NoError(t, err)
	lease, held := f.takeLease(t, "h", start)
	require.True(t, held)
	byInstance := map[string][]store.RecordKey{}
	for _, r := range records {
		byInstance[r.Key.Instance] = append(byInstance[r.Key.Instance], r.Key)
	}
	for instance, keys := range byInstance {
		require.NoError(t, f.store.DeleteRecords(t.Context(), lease, instance, keys))
	}
}

func (f *fixture) indexOnly(t *testing.T) {
	t.Helper()
	for {
		n, err := f.store.IndexTurns(t.Context(), 100, words{})
		require.NoError(t, err)
		if n == 0 {
			return
		}
	}
}

// chat makes a conversation by the API.
func (f *fixture) chat(t *testing.T, c store.NewChat) {
	t.Helper()
	if c.Identifier == "" {
		c.Identifier = c.ID
	}
	if c.CreateTime.IsZero() {
		c.CreateTime = start
	}
	c.Head = words{}.Head(c.ID, c.Identifier)
	require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
		return f.store.CreateChat(ctx, tx, c)
	}))
}

// walk gives the ids of the conversations that match, in order, by pages of two, and checks that they are as many as are counted.
func (f *fixture) walk(t *testing.T, filter store.ConversationFilter) []string {
	t.Helper()
	fresh, err := f.store.FreshConversations(t.Context(), filter.Instance)
	require.NoError(t, err)
	filter.Fresh = append(filter.Fresh, fresh...)
	first, n, err := f.store.FirstConversations(t.Context(), &filter, 2)
	require.NoError(t, err)
	ids := []string{}
	var after pagetoken.Place
	for {
		page, err := f.store.ListConversations(t.Context(), &filter, after, 2)
		require.NoError(t, err)
		if len(ids) == 0 {
			require.Equal(t, first, page)
		}
		for _, c := range page {
			ids = append(ids, c.ID)
			after = pagetoken.Place{Time: c.CreateTime, ID: c.ID}
		}
		if len(page) < 2 {
			break
		}
	}
	require.Len(t, ids, int(n))
	return ids
}

// say commits a turn that opens a conversation of its own, with that answer.
func (f *fixture) say(t *testing.T, instance, conversation, answer string, at time.Time) {
	t.Helper()
	turn := openingTurn(instance, "a1", conversation+"-1", conversation)
	turn.Lane.Identifier = "Person " + conversation
	turn.Answer, turn.Time = []byte(answer), at
	f.commit(t, turn)
}

func chatIsKeptAsGiven(t *testing.T, f *fixture) {
	agent := f.createAgent(t, "acme", "a1")
	f.chat(t, store.NewChat{Instance: "acme", ID: "c1", AgentID: "a1", Identifier: "João", Metadata: []byte{1, 2}, MetadataWords: "ouro"})
	got, err := f.store.ListedConversation(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.Equal(t, store.ListedConversation{
		ID: "c1", Identifier: "João", Source: store.SourceAgent, AgentName: agent.Name(), AgentAbout: agent.About(), Metadata: []byte{1, 2},
		CreateTime: start, UpdateTime: start,
	}, got)
	for _, other := range [][2]string{{"acme", "c2"}, {"other", "c1"}} {
		_, err = f.store.ListedConversation(t.Context(), other[0], other[1])
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	for _, agent := range []string{"none", "gone"} {
		err = f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
			return f.store.CreateChat(ctx, tx, store.NewChat{Instance: "acme", ID: "c2", AgentID: agent, CreateTime: start})
		})
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	require.NoError(t, f.store.DeleteAgent(t.Context(), "acme", "a1", start))
	got, err = f.store.ListedConversation(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.Equal(t, agent.Name(), got.AgentName, "also of an agent that is gone")
}

// A conversation shows what was said and noted, whether it is in the index yet or not.
func conversationsShowWhatHappened(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.chat(t, store.NewChat{Instance: "acme", ID: "c1", AgentID: "a1"})
	opening := openingTurn("acme", "a1", "m1", "c1")
	opening.Lane.EndpointID, opening.Source, opening.Time = "c1", store.SourceAgent, start.Add(time.Minute)
	f.commit(t, opening)
	f.say(t, "acme", "c2", "olá", start.Add(time.Second))
	require.NoError(t, f.store.SetSurvey(t.Context(), "acme", "c2", 4, start.Add(time.Hour)))
	for range 2 {
		for id, want := range map[string]store.ListedConversation{
			"c1": {Source: store.SourceAgent, Identifier: "c1", Messages: 2, CreateTime: start, UpdateTime: start.Add(time.Minute)},
			"c2": {Source: "api", Identifier: "Person c2", Messages: 2, CreateTime: start.Add(time.Second), UpdateTime: start.Add(time.Hour), Survey: 4},
		} {
			got, err := f.store.ListedConversation(t.Context(), "acme", id)
			require.NoError(t, err)
			want.ID, want.AgentName, want.AgentAbout = id, got.AgentName, got.AgentAbout
			require.Equal(t, want, got)
			require.Equal(t, []string{"c2", "c1"}, f.walk(t, store.ConversationFilter{Instance: "acme"}))
		}
		f.index(t)
	}
}

func conversationsAreListedNewestFirst(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	require.Empty(t, f.walk(t, store.ConversationFilter{Instance: "acme"}))
	var want []string
	for i := range 9 {
		id := "c" + strconv.Itoa(i)
		at := start.Add(time.Duration(i/3) * time.Minute) // some at the same time: by their ids
		if i%2 == 0 {
			f.chat(t, store.NewChat{Instance: "acme", ID: id, AgentID: "a1", CreateTime: at})
		} else {
			f.say(t, "acme", id, "olá", at)
		}
		if i == 5 {
			f.index(t)
		}
		want = append([]string{id}, want...)
	}
	f.chat(t, store.NewChat{Instance: "other", ID: "c1", AgentID: "a1"})
	f.say(t, "other", "x", "olá", start)
	require.Equal(t, want, f.walk(t, store.ConversationFilter{Instance: "acme"}))
	require.Equal(t, want[3:6], f.walk(t, store.ConversationFilter{
		Instance: "acme", From: start.Add(time.Minute), Until: start.Add(2 * time.Minute),
	}))
	require.Equal(t, want[3:], f.walk(t, store.ConversationFilter{Instance: "acme", Until: start.Add(2 * time.Minute)}))
	require.Equal(t, []string{"x", "c1"}, f.walk(t, store.ConversationFilter{Instance: "other"}))
	f.index(t)
	require.Equal(t, want, f.walk(t, store.ConversationFilter{Instance: "acme"}))
}

// A walk shows each conversation that was there when it began once, whatever is written meanwhile.
func walksAreStable(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	for i := range 20 {
		f.say(t, "acme", fmt.Sprintf("c%02d", i), "olá", start.Add(time.Duration(i)*time.Second))
	}
	seen := map[string]int{}
	var after pagetoken.Place
	for page := 0; ; page++ {
		fresh, err := f.store.FreshConversations(t.Context(), "acme")
		require.NoError(t, err)
		found, err := f.store.ListConversations(t.Context(), &store.ConversationFilter{Instance: "acme", Fresh: fresh}, after, 3)
		require.NoError(t, err)
		for _, c := range found {
			seen[c.ID]++
			after = pagetoken.Place{Time: c.CreateTime, ID: c.ID}
		}
		if len(found) < 3 {
			break
		}
		f.say(t, "acme", fmt.Sprintf("new%02d", page), "olá", start.Add(time.Hour+time.Duration(page)*time.Second))
		if page == 2 {
			f.index(t)
		}
	}
	require.Len(t, seen, 20)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
}

func metadataIsChangedOneAfterTheOther(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.chat(t, store.NewChat{Instance: "acme", ID: "c1", AgentID: "a1"})
	f.say(t, "acme", "c2", "olá", start)
	add := func(old []byte) ([]byte, string, error) { return append(old, 'x'), "x", nil }
	for _, id := range []string{"c1", "c2"} {
		const writers = 8
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() { errs[i] = f.store.ChangeMetadata(t.Context(), "acme", id, start.Add(time.Minute), add) })
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		got, err := f.store.ListedConversation(t.Context(), "acme", id)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("x", writers), string(got.Metadata))
		require.Equal(t, start.Add(time.Minute), got.UpdateTime)
	}
	refused := errors.New("refused")
	require.Equal(t, refused, f.store.ChangeMetadata(t.Context(), "acme", "c1", start, func([]byte) ([]byte, string, error) { return nil, "", refused }))
	for _, other := range [][2]string{{"acme", "c3"}, {"other", "c1"}, {"other", "c2"}} {
		require.ErrorIs(t, f.store.ChangeMetadata(t.Context(), other[0], other[1], start, add), store.ErrNotFound)
		require.ErrorIs(t, f.store.SetSurvey(t.Context(), other[0], other[1], 1, start), store.ErrNotFound)
	}
	require.NoError(t, f.store.SetSurvey(t.Context(), "acme", "c1", 1, start))
	require.NoError(t, f.store.SetSurvey(t.Context(), "acme", "c1", 5, start))
	got, err := f.store.ListedConversation(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.EqualValues(t, 5, got.Survey)
	require.Len(t, got.Metadata, 8)
}

func feedbackIsTheLastWord(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.converse(t, "acme", "c1", 3)
	require.NoError(t, f.store.SetFeedback(t.Context(), "acme", "c1", "c1-1", "like", start))
	require.NoError(t, f.store.SetFeedback(t.Context(), "acme", "c1", "c1-1", "dislike", start))
	require.NoError(t, f.store.SetFeedback(t.Context(), "acme", "c1", "c1-3", "like", start))
	for _, other := range [][3]string{{"acme", "c1", "c1-4"}, {"acme", "c2", "c1-1"}, {"other", "c1", "c1-1"}} {
		require.ErrorIs(t, f.store.SetFeedback(t.Context(), other[0], other[1], other[2], "like", start), store.ErrNotFound)
	}
	got, err := f.store.Feedback(t.Context(), "acme", "c1", []string{"c1-1", "c1-2", "none"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"c1-1": "dislike"}, got)
	got, err = f.store.Feedback(t.Context(), "other", "c1", []string{"c1-1"})
	require.NoError(t, err)
	require.Empty(t, got)
}

func chainLeadsBack(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.converse(t, "acme", "c1", 5)
	f.chat(t, store.NewChat{Instance: "acme", ID: "c2", AgentID: "a1"})
	last, err := f.store.LastLink(t.Context(), "acme", "c1")
	require.NoError(t, err)
	require.Equal(t, store.Link{Number: 5, TurnID: "c1-5"}, last)
	nothing, err := f.store.LastLink(t.Context(), "acme", "c2")
	require.NoError(t, err)
	require.Zero(t, nothing)
	_, err = f.store.LastLink(t.Context(), "other", "c1")
	require.ErrorIs(t, err, store.ErrNotFound)
	for _, test := range []struct {
		from int64
		upTo string
		want []string
	}{
		{1, "c1-5", []string{"c1-1", "c1-2", "c1-3", "c1-4", "c1-5"}},
		{3, "c1-4", []string{"c1-3", "c1-4"}},
		{5, "c1-5", []string{"c1-5"}},
		{1, "c1-6", nil},
	} {
		links, err := f.store.Chain(t.Context(), "acme", "c1", test.from, test.upTo)
		require.NoError(t, err)
		var ids []string
		for i, l := range links {
			require.Equal(t, test.from+int64(i), l.Number)
			ids = append(ids, l.TurnID)
		}
		require.Equal(t, test.want, ids)
		said, err := f.store.SaidInChain(t.Context(), "acme", "c1", test.from, test.upTo)
		require.NoError(t, err)
		require.Len(t, said, len(test.want))
		for i, id := range test.want {
			require.Equal(t, "answer of "+id, string(said[i].Answer))
		}
	}
	for _, other := range [][2]string{{"other", "c1"}, {"acme", "c2"}} {
		links, err := f.store.Chain(t.Context(), other[0], other[1], 1, "c1-5")
		require.NoError(t, err)
		require.Empty(t, links)
		said, err := f.store.SaidInChain(t.Context(), other[0], other[1], 1, "c1-5")
		require.NoError(t, err)
		require.Empty(t, said)
	}
	conversation, said, err := f.store.SaidIn(t.Context(), "acme", "c1-2")
	require.NoError(t, err)
	require.Equal(t, "c1", conversation)
	require.Equal(t, "answer of c1-2", string(said.Answer))
	_, _, err = f.store.SaidIn(t.Context(), "other", "c1-2")
	require.ErrorIs(t, err, store.ErrNotFound)
}

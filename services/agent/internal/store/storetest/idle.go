package storetest

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

func idleConversationEnds(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "c1-1", "c1"))
	slow := f.nextTurn(t, lane("acme", "a1"), "c1-2")
	c := f.position(t, lane("acme", "a1"), "c1-2").Conversation
	end := start.Add(time.Hour)
	for range 2 {
		require.NoError(t, f.store.FinishIdle(t.Context(), "acme", c, end))
		require.Nil(t, f.position(t, lane("acme", "a1"), "c1-2").Conversation)
		ends, err := f.store.Ends(t.Context(), "acme", []string{"c1", "none"})
		require.NoError(t, err)
		require.Equal(t, map[string]store.End{"c1": {AttendanceID: 7, Time: end}}, ends)
		require.Equal(t, []store.RecordKey{key("acme", "c1", 1), key("acme", "c1", 2)}, f.pendingWithEnds(t))
	}
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), slow), store.ErrConflict)
	f.commit(t, openingTurn("acme", "a1", "c2-1", "c2"))
}

// pendingWithEnds are the places of what is pending; ends have no turn, and come after all turns of their conversation.
func (f *fixture) pendingWithEnds(t *testing.T) []store.RecordKey {
	t.Helper()
	records, err := f.store.PendingRecords(t.Context(), store.RecordKey{}, 10_000)
	require.NoError(t, err)
	var keys []store.RecordKey
	for i, r := range records {
		last := i == len(records)-1 || records[i+1].Key.ConversationID != r.Key.ConversationID
		if r.TurnID == "" {
			require.True(t, last, "%v", r.Key)
		} else {
			require.Equal(t, r.Key.ConversationID+"-"+strconv.FormatInt(r.Key.TurnNumber, 10), r.TurnID)
		}
		keys = append(keys, r.Key)
	}
	return keys
}

func movedConversationIsNotIdle(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	c := f.position(t, lane("acme", "a1"), "m2").Conversation
	f.commit(t, f.nextTurn(t, lane("acme", "a1"), "m2"))
	require.NoError(t, f.store.FinishIdle(t.Context(), "acme", c, start.Add(time.Hour)))
	require.NoError(t, f.store.FinishIdle(t.Context(), "other", c, start.Add(time.Hour)))
	require.NotNil(t, f.position(t, lane("acme", "a1"), "m3").Conversation)
	require.Equal(t, 2, f.count(t, `SELECT count(*) FROM pending_record`))
	ends, err := f.store.Ends(t.Context(), "acme", []string{"c1"})
	require.NoError(t, err)
	require.Empty(t, ends)
}

// speak commits a turn at a moment: the first of its conversation, or the next.
func (f *fixture) speak(t *testing.T, instance, conversation string, at time.Time) {
	t.Helper()
	l := lane(instance, "a1")
	l.Identifier = conversation
	p := f.position(t, l, "")
	id := conversation + "-1"
	turn := openingTurn(instance, "a1", id, conversation)
	turn.Lane = l
	if p.Conversation != nil {
		turn = f.nextTurn(t, l, conversation+"-"+strconv.FormatInt(p.Conversation.LastTurn+1, 10))
	}
	turn.Time = at
	f.commit(t, turn)
}

func (f *fixture) silent(t *testing.T, instance string, since time.Time, after store.Silent, limit int) []string {
	t.Helper()
	page, err := f.store.Silent(t.Context(), instance, since, after, limit)
	require.NoError(t, err)
	var ids []string
	for _, c := range page {
		ids = append(ids, c.ID)
	}
	return ids
}

func silentConversationsAreFound(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	f.speak(t, "acme", "c9", at(0))
	f.speak(t, "acme", "c1", at(1))
	f.speak(t, "acme", "c2", at(1))
	f.speak(t, "acme", "spoken", at(0))
	f.speak(t, "acme", "spoken", at(30))
	f.speak(t, "acme", "young", at(3))
	f.speak(t, "other", "c5", at(0))

	require.Equal(t, []string{"c9", "c1", "c2"}, f.silent(t, "acme", at(2), store.Silent{}, 10), "oldest first, not those that were spoken in since")
	require.Equal(t, []string{"c9"}, f.silent(t, "acme", at(1).Add(-time.Microsecond), store.Silent{}, 10))
	require.Equal(t, []string{"c9", "c1", "c2"}, f.silent(t, "acme", at(1), store.Silent{}, 10), "the moment itself counts")
	require.Empty(t, f.silent(t, "acme", at(-1), store.Silent{}, 10))
	page, err := f.store.Silent(t.Context(), "acme", at(2), store.Silent{}, 2)
	require.NoError(t, err)
	require.Equal(t, []store.Silent{{ID: "c9", CreateTime: at(0)}, {ID: "c1", CreateTime: at(1)}}, page)
	require.Equal(t, []string{"c2"}, f.silent(t, "acme", at(2), page[1], 2))
	require.Empty(t, f.silent(t, "nobody", at(99), store.Silent{}, 2))
}

func silentConversationsEndOnce(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	var ids []string
	for n := range 300 {
		ids = append(ids, "c"+strconv.Itoa(1000+n))
		f.speak(t, "acme", ids[n], start.Add(time.Duration(n)*time.Second))
	}
	f.speak(t, "other", ids[0], start)
	const timeout = time.Hour
	since := start.Add(200 * time.Second)
	// Several at once, and with those that are not silent for so long: each ends once.
	ended := make([]int, 4)
	errs := make([]error, len(ended))
	var done sync.WaitGroup
	for i := range ended {
		done.Go(func() {
			list := slices.Clone(ids)
			if i%2 == 0 {
				slices.Reverse(list)
			}
			ended[i], errs[i] = f.store.FinishSilent(t.Context(), "acme", list, since, timeout)
		})
	}
	done.Wait()
	total := 0
	for i := range ended {
		require.NoError(t, errs[i])
		total += ended[i]
	}
	require.Equal(t, 201, total)
	require.Len(t, f.pendingWithEnds(t), 300+201+1)
	ends, err := f.store.Ends(t.Context(), "acme", ids)
	require.NoError(t, err)
	require.Len(t, ends, 201)
	require.Equal(t, store.End{AttendanceID: 7, Time: start.Add(200*time.Second + timeout)}, ends[ids[200]])
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE instance = 'other' AND state = 'OPEN'`))

	// A turn that was computed meanwhile is refused, and the person's next message opens another conversation.
	l := lane("acme", "a1")
	l.Identifier = ids[0]
	late := openingTurn("acme", "a1", "late", ids[0])
	late.Lane, late.Conversation.LastTurn = l, 1
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), late), store.ErrConflict)
	require.Nil(t, f.position(t, l, "late").Conversation)
	n, err := f.store.FinishSilent(t.Context(), "acme", nil, since, timeout)
	require.NoError(t, err)
	require.Zero(t, n)
}

func instancesWithOpenConversations(t *testing.T, f *fixture) {
	for _, instance := range []string{"b", "a", "c"} {
		f.createAgent(t, instance, "a1")
		f.speak(t, instance, "c1", start)
	}
	f.createAgent(t, "empty", "a1")
	_, err := f.store.FinishSilent(t.Context(), "b", []string{"c1"}, start, time.Hour)
	require.NoError(t, err)
	first, err := f.store.NextOpenInstance(t.Context(), "")
	require.NoError(t, err)
	second, err := f.store.NextOpenInstance(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c"}, []string{first, second})
	_, err = f.store.NextOpenInstance(t.Context(), second)
	require.ErrorIs(t, err, store.ErrNotFound)
}

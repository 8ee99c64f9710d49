package storetest

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// converse commits turns of one conversation.
func (f *fixture) converse(t *testing.T, instance, conversation string, turns int) {
	t.Helper()
	l := lane(instance, "a1")
	l.Identifier = conversation
	for i := range turns {
		id := conversation + "-" + strconv.Itoa(i+1)
		if i > 0 {
			f.commit(t, f.nextTurn(t, l, id))
			continue
		}
		turn := openingTurn(instance, "a1", id, conversation)
		turn.Lane = l
		f.commit(t, turn)
	}
}

func key(instance, conversation string, number int64) store.RecordKey {
	return store.RecordKey{Instance: instance, ConversationID: conversation, TurnNumber: number}
}

func (f *fixture) pending(t *testing.T, after store.RecordKey, limit int) []store.RecordKey {
	t.Helper()
	records, err := f.store.PendingRecords(t.Context(), after, limit)
	require.NoError(t, err)
	var keys []store.RecordKey
	for _, r := range records {
		id := r.Key.ConversationID + "-" + strconv.FormatInt(r.Key.TurnNumber, 10)
		require.Equal(t, id, r.TurnID)
		keys = append(keys, r.Key)
	}
	return keys
}

func (f *fixture) takeLease(t *testing.T, holder string, now time.Time) (store.Lease, bool) {
	t.Helper()
	lease, held, err := f.store.TakeLease(t.Context(), "recorder", holder, now, now.Add(time.Minute))
	require.NoError(t, err)
	return lease, held
}

func recordsComeInOrder(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "acme-b", "a1")
	require.Empty(t, f.pending(t, store.RecordKey{}, 10))
	f.converse(t, "acme-b", "c1", 1)
	f.converse(t, "acme", "c2", 11)
	f.converse(t, "acme", "c10", 1)
	all := []store.RecordKey{key("acme", "c10", 1)}
	for n := range int64(11) {
		all = append(all, key("acme", "c2", n+1))
	}
	all = append(all, key("acme-b", "c1", 1))
	require.Equal(t, all, f.pending(t, store.RecordKey{}, 100))
	require.Equal(t, all[:5], f.pending(t, store.RecordKey{}, 5))
	require.Equal(t, all[5:], f.pending(t, all[4], 100))
	require.Equal(t, all[12:], f.pending(t, all[11], 100))
	require.Empty(t, f.pending(t, all[12], 100))
}

func turnsAreReadByID(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	f.converse(t, "acme", "c1", 2)
	f.converse(t, "acme", "c\"2", 1)
	f.converse(t, "other", "c3", 1)
	said, err := f.store.Said(t.Context(), "acme", []string{"c1-2", "c\"2-1", "c3-1", "none"})
	require.NoError(t, err)
	want := make(map[string]store.Said)
	for _, id := range []string{"c1-2", "c\"2-1"} {
		want[id] = store.Said{Answer: []byte("answer of " + id), Record: []byte("record of " + id)}
	}
	require.Equal(t, want, said)
	said, err = f.store.Said(t.Context(), "acme", nil)
	require.NoError(t, err)
	require.Empty(t, said)
}

func recordsAreCountedUpToALimit(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	for want := range 3 {
		n, _, err := f.store.CountRecords(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, min(want, 2), n)
		f.converse(t, "acme", "c"+strconv.Itoa(want), 1)
	}
}

func recordsAreDeletedUnderTheLease(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	f.converse(t, "acme", "c1", 3)
	f.converse(t, "acme", "c2", 2)
	f.converse(t, "other", "c1", 1)
	lease, held := f.takeLease(t, "h1", start)
	require.True(t, held)
	done := []store.RecordKey{key("acme", "c1", 1), key("acme", "c1", 2), key("acme", "c2", 1)}

	old := lease
	old.Epoch--
	require.ErrorIs(t, f.store.DeleteRecords(t.Context(), old, "acme", done), store.ErrLeaseLost)
	stranger := lease
	stranger.Holder = "h2"
	require.ErrorIs(t, f.store.DeleteRecords(t.Context(), stranger, "acme", done), store.ErrLeaseLost)
	require.Len(t, f.pending(t, store.RecordKey{}, 10), 6)

	require.NoError(t, f.store.DeleteRecords(t.Context(), lease, "acme", done))
	require.Equal(t, []store.RecordKey{key("acme", "c1", 3), key("acme", "c2", 2), key("other", "c1", 1)},
		f.pending(t, store.RecordKey{}, 10))
	require.NoError(t, f.store.DeleteRecords(t.Context(), lease, "acme", nil))
}

func recordIsPostponed(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.converse(t, "acme", "c1", 2)
	lease, _ := f.takeLease(t, "h1", start)
	require.NoError(t, f.store.PostponeRecord(t.Context(), lease, key("acme", "c1", 1), start.Add(time.Second)))
	require.NoError(t, f.store.PostponeRecord(t.Context(), lease, key("acme", "c1", 1), start.Add(time.Minute)))
	records, err := f.store.PendingRecords(t.Context(), store.RecordKey{}, 10)
	require.NoError(t, err)
	require.Len(t, records, 2)
	require.EqualValues(t, 2, records[0].Tries)
	require.Equal(t, start.Add(time.Minute), records[0].RetryTime)
	require.Zero(t, records[1].Tries)
	require.True(t, records[1].RetryTime.IsZero())
	lease.Epoch--
	require.ErrorIs(t, f.store.PostponeRecord(t.Context(), lease, key("acme", "c1", 1), start), store.ErrLeaseLost)
}

func recordIsRefused(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.converse(t, "acme", "c1", 2)
	lease, _ := f.takeLease(t, "h1", start)
	old := lease
	old.Epoch--
	require.ErrorIs(t, f.store.RefuseRecord(t.Context(), old, key("acme", "c1", 1), "InvalidArgument", start), store.ErrLeaseLost)
	require.NoError(t, f.store.RefuseRecord(t.Context(), lease, key("acme", "c1", 1), "InvalidArgument", start))
	require.Equal(t, []store.RecordKey{key("acme", "c1", 2)}, f.pending(t, store.RecordKey{}, 10))
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM refused_record WHERE instance = 'acme' AND conversation_id = 'c1'
		AND turn_number = 1 AND code = 'InvalidArgument' AND turn_id = 'c1-1'`))
}

func leaseHasOneHolder(t *testing.T, f *fixture) {
	first, held := f.takeLease(t, "h1", start)
	require.True(t, held)
	require.Equal(t, store.Lease{Name: "recorder", Holder: "h1", Epoch: 1}, first)
	_, held = f.takeLease(t, "h2", start.Add(time.Minute-time.Microsecond))
	require.False(t, held)
	again, held := f.takeLease(t, "h1", start.Add(time.Second))
	require.True(t, held, "its holder renews it")
	require.Equal(t, first, again)
	_, held = f.takeLease(t, "h2", start.Add(time.Minute))
	require.False(t, held)
	second, held := f.takeLease(t, "h2", start.Add(time.Minute+time.Second))
	require.True(t, held)
	require.Equal(t, store.Lease{Name: "recorder", Holder: "h2", Epoch: 2}, second)
	_, held = f.takeLease(t, "h1", start.Add(time.Minute+time.Second))
	require.False(t, held)
}

func leaseGivenBackIsFree(t *testing.T, f *fixture) {
	first, _ := f.takeLease(t, "h1", start)
	require.NoError(t, f.store.GiveLease(t.Context(), first))
	second, held := f.takeLease(t, "h2", start)
	require.True(t, held)
	require.EqualValues(t, 2, second.Epoch)
	require.NoError(t, f.store.GiveLease(t.Context(), first), "who lost it gives nothing back")
	_, held = f.takeLease(t, "h3", start)
	require.False(t, held)
}

package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// attended reads the conversation of an attendance that there is.
func (f *fixture) attended(t *testing.T, instance string, attendance int64) *store.Attended {
	t.Helper()
	a, err := f.store.Attended(t.Context(), f.store.Reader(), instance, attendance)
	require.NoError(t, err)
	byID, err := f.store.AttendedByID(t.Context(), f.store.Reader(), instance, a.ID)
	require.NoError(t, err)
	require.Equal(t, a, byID)
	return a
}

func (f *fixture) write(t *testing.T, fn func(ctx context.Context, tx sqldb.Tx) error) error {
	t.Helper()
	return f.store.Write(t.Context(), fn)
}

func (f *fixture) finishAttended(t *testing.T, a *store.Attended, now time.Time) error {
	t.Helper()
	return f.write(t, func(ctx context.Context, tx sqldb.Tx) error { return f.store.Finish(ctx, tx, a, now) })
}

func (f *fixture) handBack(t *testing.T, a *store.Attended, state string, now time.Time) error {
	t.Helper()
	return f.write(t, func(ctx context.Context, tx sqldb.Tx) error { return f.store.HandBack(ctx, tx, a, []byte(state), now) })
}

// said is a reply to a conversation as it was read.
func said(to *store.Attended, id string) *store.Reply {
	return &store.Reply{To: to, ID: id, Answer: []byte("answer " + id), Record: []byte("record " + id), Time: start.Add(time.Hour)}
}

func attendedIsFoundByItsNumber(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	opening := openingTurn("acme", "a1", "m1", "c1")
	f.commit(t, opening)
	a := f.attended(t, "acme", 7)
	require.True(t, a.Open())
	require.Equal(t, &store.Attended{Conversation: opening.After(), Lane: opening.Lane, Source: opening.Source}, a)

	for _, c := range []struct {
		instance string
		number   int64
	}{{"other", 7}, {"acme", 8}, {"acme", 0}, {"nobody", 7}} {
		_, err := f.store.Attended(t.Context(), f.store.Reader(), c.instance, c.number)
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = f.store.AttendedByID(t.Context(), f.store.Reader(), c.instance, "c"+strconv.FormatInt(c.number, 10))
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

func handedBackConversationIsTheAgents(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	slow := f.nextTurn(t, lane("acme", "a1"), "m2")
	stale := f.attended(t, "acme", 7)
	now := start.Add(time.Hour)
	require.NoError(t, f.handBack(t, stale, "given back", now))

	a := f.attended(t, "acme", 7)
	require.Equal(t, stale.Epoch+1, a.Epoch)
	require.Equal(t, stale.LastTurn, a.LastTurn)
	require.Equal(t, []byte("given back"), a.FlowState)
	require.Equal(t, now, a.UpdateTime, "the conversation is not idle")
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), slow), store.ErrConflict, "what was computed before does not count")
	require.ErrorIs(t, f.handBack(t, stale, "again", now), store.ErrConflict)
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM pending_record`), "contacts need not know")
	f.commit(t, f.nextTurn(t, lane("acme", "a1"), "m2"))
}

func finishedByPeople(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "c1-1", "c1"))
	slow := f.nextTurn(t, lane("acme", "a1"), "c1-2")
	stale := f.attended(t, "acme", 7)
	now := start.Add(time.Hour)
	require.NoError(t, f.finishAttended(t, stale, now))

	a := f.attended(t, "acme", 7)
	require.False(t, a.Open())
	require.Equal(t, now, a.FinishTime)
	require.Equal(t, stale.Epoch+1, a.Epoch)
	require.Nil(t, f.position(t, lane("acme", "a1"), "c1-2").Conversation)
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), slow), store.ErrConflict)
	for _, late := range []*store.Attended{stale, a} {
		require.ErrorIs(t, f.finishAttended(t, late, now), store.ErrConflict)
		require.ErrorIs(t, f.handBack(t, late, "again", now), store.ErrConflict)
	}
	ends, err := f.store.Ends(t.Context(), "acme", []string{"c1"})
	require.NoError(t, err)
	require.Equal(t, map[string]store.End{"c1": {AttendanceID: 7, Time: now}}, ends)
	require.Equal(t, []store.RecordKey{key("acme", "c1", 1), key("acme", "c1", 2)}, f.pendingWithEnds(t))
	f.commit(t, openingTurn("acme", "a1", "c2-1", "c2"))
}

func undoneFinishLeavesNothing(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "c1-1", "c1"))
	a := f.attended(t, "acme", 7)
	undone := errors.New("undone")
	err := f.write(t, func(ctx context.Context, tx sqldb.Tx) error {
		return errors.Join(f.store.Finish(ctx, tx, a, start), undone)
	})
	require.ErrorIs(t, err, undone)
	require.Equal(t, a, f.attended(t, "acme", 7))
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM pending_record`))
}

func replyIsATurn(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	slow := f.nextTurn(t, lane("acme", "a1"), "m2")
	before := f.attended(t, "acme", 7)
	_, err := f.store.Answer(t.Context(), "acme", "r1")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, f.store.CommitReply(t.Context(), said(before, "r1")))

	a := f.attended(t, "acme", 7)
	want := *before
	want.LastTurn, want.LastTurnID, want.UpdateTime = 2, "r1", start.Add(time.Hour)
	require.Equal(t, &want, a, "epoch and state of the flow stay")
	answer, err := f.store.Answer(t.Context(), "acme", "r1")
	require.NoError(t, err)
	require.Equal(t, []byte("answer r1"), answer)
	_, err = f.store.Answer(t.Context(), "other", "r1")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM turn WHERE id = 'r1' AND conversation_id = 'c1' AND number = 2 AND previous_id = 'm1'`))
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM pending_record WHERE conversation_id = 'c1' AND turn_number = 2 AND turn_id = 'r1'`))
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE messages = $1`, openingTurn("acme", "a1", "m1", "c1").Messages+1))

	require.ErrorIs(t, f.store.CommitTurn(t.Context(), slow), store.ErrConflict, "what was computed before does not count")
	require.ErrorIs(t, f.store.CommitReply(t.Context(), said(before, "r2")), store.ErrConflict)
	require.ErrorIs(t, f.store.CommitReply(t.Context(), said(a, "r1")), store.ErrConflict, "it is stored already")
	require.ErrorIs(t, f.store.CommitReply(t.Context(), said(a, "m1")), store.ErrConflict, "a message has that id")
	require.Equal(t, a, f.attended(t, "acme", 7), "what is refused leaves nothing")
	f.commit(t, f.nextTurn(t, lane("acme", "a1"), "m2"))
	require.NoError(t, f.store.CommitReply(t.Context(), said(f.attended(t, "acme", 7), "r2")))
	require.Equal(t, 4, f.count(t, `SELECT count(*) FROM pending_record`))
}

// lateRepliesComeAfterTheEnd has words that were taken before somebody finished the attendance.
func lateRepliesComeAfterTheEnd(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "c1-1", "c1"))
	before := f.attended(t, "acme", 7)
	end := start.Add(time.Minute)
	require.NoError(t, f.finishAttended(t, before, end))
	require.ErrorIs(t, f.store.CommitReply(t.Context(), said(before, "r1")), store.ErrConflict)
	for _, id := range []string{"r1", "r2"} {
		require.NoError(t, f.store.CommitReply(t.Context(), said(f.attended(t, "acme", 7), id)))
	}
	a := f.attended(t, "acme", 7)
	require.False(t, a.Open())
	require.Equal(t, end, a.FinishTime)
	require.Equal(t, "r2", a.LastTurnID)
	require.EqualValues(t, 3, a.LastTurn, "turns are counted without a gap")
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM turn WHERE id = 'r2' AND number = 3 AND previous_id = 'r1'`))
	records, err := f.store.PendingRecords(t.Context(), store.RecordKey{}, 10)
	require.NoError(t, err)
	var ids []string
	for _, r := range records {
		ids = append(ids, r.TurnID)
	}
	require.Equal(t, []string{"c1-1", "", "r1", "r2"}, ids, "the end, then what came late, in order")
	require.Nil(t, f.position(t, lane("acme", "a1"), "m2").Conversation)
}

func repliesAtOnceAreAllKept(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	const callers = 8
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			for {
				to, err := f.store.Attended(t.Context(), f.store.Reader(), "acme", 7)
				if err == nil {
					err = f.store.CommitReply(t.Context(), said(to, "r"+strconv.Itoa(n)))
				}
				if !errors.Is(err, store.ErrConflict) {
					errs[n] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.EqualValues(t, 1+callers, f.attended(t, "acme", 7).LastTurn)
	require.Equal(t, 1+callers, f.count(t, `SELECT count(DISTINCT previous_id) FROM turn WHERE instance = 'acme'`), "one chain")
	require.Equal(t, 1+callers, f.count(t, `SELECT count(*) FROM pending_record`))
}

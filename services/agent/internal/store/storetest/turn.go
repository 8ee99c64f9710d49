package storetest

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

func lane(instance, agentID string) store.Lane {
	return store.Lane{Instance: instance, AgentID: agentID, EndpointID: "e1", Identifier: "João 🍇"}
}

// openingTurn is a turn that opens a conversation.
func openingTurn(instance, agentID, id, conversation string) *store.Turn {
	return &store.Turn{
		Lane: lane(instance, agentID), ID: id, Source: "api",
		Conversation: store.Conversation{
			ID: conversation, ContactID: "p1", AgentVersion: 1, AttendanceID: 7, FlowState: []byte("state of " + id),
		},
		Answer: []byte("answer of " + id), Record: []byte("record of " + id),
		Messages: 2, Time: start,
	}
}

func (f *fixture) position(t *testing.T, l store.Lane, turnID string) *store.Position {
	t.Helper()
	p, err := f.store.Position(t.Context(), l, turnID)
	require.NoError(t, err)
	return p
}

// nextTurn is a turn that goes on with the conversation of a lane.
func (f *fixture) nextTurn(t *testing.T, l store.Lane, id string) *store.Turn {
	t.Helper()
	turn := openingTurn(l.Instance, l.AgentID, id, "")
	turn.Lane = l
	p := f.position(t, l, id)
	require.NotNil(t, p.Conversation)
	turn.Conversation = *p.Conversation
	turn.Conversation.FlowState = []byte("state of " + id)
	turn.Time = start.Add(time.Minute)
	return turn
}

func (f *fixture) commit(t *testing.T, turns ...*store.Turn) {
	t.Helper()
	for _, turn := range turns {
		require.NoError(t, f.store.CommitTurn(t.Context(), turn))
	}
}

func positionOfAnUnknownAgent(t *testing.T, f *fixture) {
	_, err := f.store.Position(t.Context(), lane("acme", "a1"), "m1")
	require.ErrorIs(t, err, store.ErrNotFound)
	created := f.createAgent(t, "acme", "a1")
	p := f.position(t, lane("acme", "a1"), "m1")
	require.Nil(t, p.Answer)
	require.Nil(t, p.Conversation)
	require.False(t, p.Deleted)
	require.Equal(t, created.AssistantID, p.Agent.AssistantID)
	require.Equal(t, created.Version, p.Agent.Version)
	require.Equal(t, created.Name(), p.Agent.Name())
}

func turnIsKeptAsGiven(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	turn := openingTurn("acme", "a1", "m1", "c1")
	turn.Answer, turn.Record, turn.Conversation.FlowState = []byte{0, 1, 0xff}, []byte{}, []byte{0xfe, 0}
	f.commit(t, turn)
	p := f.position(t, lane("acme", "a1"), "m1")
	require.Equal(t, turn.Answer, p.Answer)
	require.Equal(t, &store.Conversation{
		ID: "c1", ContactID: "p1", AgentVersion: 1, AttendanceID: 7, LastTurn: 1, LastTurnID: "m1", FlowState: []byte{0xfe, 0}, UpdateTime: start,
	}, p.Conversation)
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM turn WHERE instance = 'acme' AND id = 'm1' AND conversation_id = 'c1' AND number = 1
		AND previous_id = '' AND answer = $1 AND record = $2 AND create_time = $3`, turn.Answer, turn.Record, turn.Time.UnixMicro()))
	require.Nil(t, f.position(t, lane("acme", "a1"), "m2").Answer)
}

func secondTurnGoesOn(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	next := f.nextTurn(t, lane("acme", "a1"), "mx")
	next.Conversation.FlowState = []byte{}
	f.commit(t, next)
	require.Empty(t, f.position(t, lane("acme", "a1"), "m2").Conversation.FlowState)
	f.commit(t, f.nextTurn(t, lane("acme", "a1"), "m2"))
	p := f.position(t, lane("acme", "a1"), "m1")
	require.Equal(t, "answer of m1", string(p.Answer), "an answer stays what it was")
	require.Equal(t, "state of m2", string(p.Conversation.FlowState))
	require.EqualValues(t, 3, p.Conversation.LastTurn)
	require.Equal(t, "m2", p.Conversation.LastTurnID)
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE messages = 6`))
	require.Equal(t, start.Add(time.Minute), p.Conversation.UpdateTime)
}

func turnIsCommittedOnce(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "acme", "a2")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), openingTurn("acme", "a1", "m1", "c1")), store.ErrConflict)
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), openingTurn("acme", "a2", "m1", "c2")), store.ErrConflict)
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), f.nextTurn(t, lane("acme", "a1"), "m1")), store.ErrConflict)
	require.Nil(t, f.position(t, lane("acme", "a2"), "mx").Conversation, "a refused turn leaves nothing")
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM turn`))
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM pending_record`))
	require.EqualValues(t, 1, f.position(t, lane("acme", "a1"), "m1").Conversation.LastTurn)
}

func overtakenTurnIsRefused(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	slow := f.nextTurn(t, lane("acme", "a1"), "m2")
	f.commit(t, f.nextTurn(t, lane("acme", "a1"), "m3"))
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), slow), store.ErrConflict)
	p := f.position(t, lane("acme", "a1"), "m2")
	require.Nil(t, p.Answer)
	require.Equal(t, "state of m3", string(p.Conversation.FlowState))
	f.commit(t, f.nextTurn(t, lane("acme", "a1"), "m2"))

	other := f.nextTurn(t, lane("acme", "a1"), "m4")
	other.Conversation.Epoch++
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), other), store.ErrConflict)
}

// What was computed before a handoff is refused after it, also by its epoch alone.
func handoffRaisesTheEpoch(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	slow, handoff := f.nextTurn(t, lane("acme", "a1"), "m2"), f.nextTurn(t, lane("acme", "a1"), "m3")
	handoff.HandedOver = true
	f.commit(t, handoff)
	c := f.position(t, lane("acme", "a1"), "m2").Conversation
	require.EqualValues(t, 1, c.Epoch)
	require.Equal(t, handoff.After(), *c)
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), slow), store.ErrConflict)
	slow.Conversation.LastTurn++
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), slow), store.ErrConflict, "its epoch is over")
	f.commit(t, f.nextTurn(t, lane("acme", "a1"), "m2"))

	opening := openingTurn("acme", "a1", "m4", "c2")
	opening.Lane.Identifier = "another"
	opening.HandedOver = true
	f.commit(t, opening)
	require.Equal(t, opening.After(), *f.position(t, opening.Lane, "m5").Conversation)
}

func oneOpenConversationALane(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), openingTurn("acme", "a1", "m2", "c2")), store.ErrConflict)
	require.Nil(t, f.position(t, lane("acme", "a1"), "m2").Answer)
}

func finishedConversationIsNotFound(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	only := openingTurn("acme", "a1", "m1", "c1")
	only.Finished = true
	f.commit(t, only)
	p := f.position(t, lane("acme", "a1"), "m1")
	require.Equal(t, "answer of m1", string(p.Answer))
	require.Nil(t, p.Conversation)

	f.commit(t, openingTurn("acme", "a1", "m2", "c2"))
	last := f.nextTurn(t, lane("acme", "a1"), "m3")
	last.Finished = true
	f.commit(t, last)
	require.Nil(t, f.position(t, lane("acme", "a1"), "m4").Conversation)
	require.Equal(t, 2, f.count(t, `SELECT count(*) FROM conversation WHERE instance = 'acme' AND state = 'FINISHED' AND finish_time IS NOT NULL`))
	f.commit(t, openingTurn("acme", "a1", "m4", "c3"))
}

func finishedConversationTakesNoTurn(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m1", "c1"))
	last, late := f.nextTurn(t, lane("acme", "a1"), "m2"), f.nextTurn(t, lane("acme", "a1"), "m3")
	last.Finished = true
	f.commit(t, last)
	late.Conversation.LastTurn++
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), late), store.ErrConflict)
}

func lanesAreApart(t *testing.T, f *fixture) {
	lanes := []store.Lane{
		lane("acme", "a1"),
		lane("acme", "a2"),
		lane("other", "a1"),
		{Instance: "acme", AgentID: "a1", EndpointID: "e2", Identifier: "João 🍇"},
		{Instance: "acme", AgentID: "a1", EndpointID: "e1", Identifier: "joão 🍇"},
		{Instance: "acme", AgentID: "a1", EndpointID: "e1", Identifier: "João 🍇 "},
	}
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "acme", "a2")
	f.createAgent(t, "other", "a1")
	for i, l := range lanes {
		require.Nil(t, f.position(t, l, "mx").Conversation)
		turn := openingTurn(l.Instance, l.AgentID, "m"+strconv.Itoa(i), "c"+strconv.Itoa(i))
		turn.Lane = l
		f.commit(t, turn)
	}
	for i, l := range lanes {
		p := f.position(t, l, "m"+strconv.Itoa(i))
		require.Equal(t, "c"+strconv.Itoa(i), p.Conversation.ID)
		require.NotNil(t, p.Answer)
	}
	require.Nil(t, f.position(t, lane("other", "a1"), "m0").Answer, "the same message id is another turn in another instance")
	same := openingTurn("other", "a1", "m0", "c0")
	same.Lane.EndpointID = "e9"
	f.commit(t, same)
}

// turns are the turns of a conversation, newest first, as they are read along their chain.
const turns = `
WITH RECURSIVE chain (id, number, previous_id) AS (
    SELECT t.id, t.number, t.previous_id FROM conversation c JOIN turn t ON t.instance = c.instance AND t.id = c.last_turn_id
    WHERE c.instance = $1 AND c.id = $2
    UNION ALL
    SELECT t.id, t.number, t.previous_id FROM chain JOIN turn t ON t.instance = $1 AND t.id = chain.previous_id
)
SELECT number, id FROM chain ORDER BY number DESC`

func turnsAreAChain(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "other", "a1")
	f.commit(t, openingTurn("acme", "a1", "m2", "c1"))
	f.commit(t, openingTurn("other", "a1", "m1", "c1"))
	for i, id := range []string{"m3", "m1", "m4"} { // no order of the ids
		silent := f.nextTurn(t, lane("acme", "a1"), id)
		silent.Messages = int64(i)
		f.commit(t, silent)
	}
	rows, err := f.db.Reader().QueryContext(t.Context(), turns, "acme", "c1")
	require.NoError(t, err)
	defer rows.Close()
	var got []string
	for rows.Next() {
		var number, id string
		require.NoError(t, rows.Scan(&number, &id))
		got = append(got, number+" "+id)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []string{"4 m4", "3 m1", "2 m3", "1 m2"}, got)
	require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE instance = 'acme' AND messages = 2 + 0 + 1 + 2`))
}

func concurrentTurnsOfAConversation(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.commit(t, openingTurn("acme", "a1", "m0", "c1"))
	const writers = 8
	turns := make([]*store.Turn, writers)
	for i := range turns {
		turns[i] = f.nextTurn(t, lane("acme", "a1"), "m"+strconv.Itoa(i+1))
	}
	errs := make([]error, writers)
	var done sync.WaitGroup
	for i := range turns {
		done.Go(func() { errs[i] = f.store.CommitTurn(t.Context(), turns[i]) })
	}
	done.Wait()
	committed := 0
	for _, err := range errs {
		if err == nil {
			committed++
			continue
		}
		require.True(t, errors.Is(err, store.ErrConflict), "%v", err)
	}
	require.Equal(t, 1, committed)
	require.EqualValues(t, 2, f.position(t, lane("acme", "a1"), "m").Conversation.LastTurn)
	require.Equal(t, 2, f.count(t, `SELECT count(*) FROM turn`))
}

// Whatever shares a transaction with whatever: each turn has its own outcome.
func manyTurnsAtOnce(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	const conversations = 150
	commit := func(turns []*store.Turn) []error {
		errs := make([]error, len(turns))
		var done sync.WaitGroup
		for i := range turns {
			done.Go(func() { errs[i] = f.store.CommitTurn(t.Context(), turns[i]) })
		}
		done.Wait()
		return errs
	}
	lanes := make([]store.Lane, conversations)
	turns := make([]*store.Turn, conversations)
	for i := range turns {
		name := strconv.Itoa(i)
		lanes[i] = lane("acme", "a1")
		lanes[i].Identifier = name
		turns[i] = openingTurn("acme", "a1", "m"+name, "c"+name)
		turns[i].Lane = lanes[i]
	}
	require.NoError(t, errors.Join(commit(turns)...))

	const stale, stored, finished = 30, 70, 110
	for i := range turns {
		turns[i] = f.nextTurn(t, lanes[i], "n"+strconv.Itoa(i))
	}
	turns[stale].Conversation.Epoch++
	turns[stored].ID = "m0"
	turns[finished].Finished = true
	for i, err := range commit(turns) {
		if i == stale || i == stored {
			require.ErrorIs(t, err, store.ErrConflict, "%d", i)
		} else {
			require.NoError(t, err, "%d", i)
		}
	}
	for i, turn := range turns {
		p := f.position(t, lanes[i], "n"+strconv.Itoa(i))
		switch i {
		case stale, stored:
			require.Nil(t, p.Answer)
			require.EqualValues(t, 1, p.Conversation.LastTurn)
		case finished:
			require.Equal(t, turn.Answer, p.Answer)
			require.Nil(t, p.Conversation)
		default:
			require.Equal(t, turn.Answer, p.Answer)
			require.EqualValues(t, 2, p.Conversation.LastTurn)
			require.Equal(t, turn.Conversation.FlowState, p.Conversation.FlowState)
		}
	}
	require.Equal(t, 2*conversations-2, f.count(t, `SELECT count(*) FROM turn`))
	require.Equal(t, 2*conversations-2, f.count(t, `SELECT count(*) FROM pending_record`))
}

func afterIsWhatPositionGives(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	for i := range 3 {
		id := "m" + strconv.Itoa(i)
		turn := openingTurn("acme", "a1", id, "c1")
		if i > 0 {
			turn = f.nextTurn(t, lane("acme", "a1"), id)
		}
		turn.Time = start.Add(time.Duration(i)*time.Second + 999*time.Nanosecond)
		f.commit(t, turn)
		after := turn.After()
		require.Equal(t, f.position(t, lane("acme", "a1"), "mx").Conversation, &after)
	}
}

package turn

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

func laneOf(person string) store.Lane {
	return store.Lane{Instance: "acme", AgentID: "a1", EndpointID: "e1", Identifier: person}
}

func standingOf(person, conversation string, lastTurn int64) standing {
	return standing{
		lane: laneOf(person), conversation: store.Conversation{ID: conversation, LastTurn: lastTurn, LastTurnID: "m" + strconv.FormatInt(lastTurn, 10)},
	}
}

func TestLaneIsTakenOnce(t *testing.T) {
	l := newLanes(10, 1<<20)
	_, ok := l.take(laneOf("p"))
	require.False(t, ok)
	want := standingOf("p", "c", 3)
	l.put(want)
	got, ok := l.take(laneOf("p"))
	require.True(t, ok)
	require.Equal(t, want, got)
	_, ok = l.take(laneOf("p"))
	require.False(t, ok)
	require.Zero(t, l.bytes)
}

func TestNewerStandingStays(t *testing.T) {
	l := newLanes(10, 1<<20)
	for _, s := range []standing{standingOf("p", "c", 2), standingOf("p", "c", 3), standingOf("p", "c", 2), standingOf("p", "c", 3)} {
		l.put(s)
	}
	got, _ := l.take(laneOf("p"))
	require.EqualValues(t, 3, got.conversation.LastTurn)
	l.put(standingOf("p", "c", 3))
	l.put(standingOf("p", "another", 1))
	got, _ = l.take(laneOf("p"))
	require.Equal(t, "another", got.conversation.ID)
}

func TestLanesAreBounded(t *testing.T) {
	l := newLanes(3, 1<<20)
	for i := range 4 {
		l.put(standingOf(strconv.Itoa(i), "c", 1))
	}
	_, ok := l.take(laneOf("0"))
	require.False(t, ok, "the oldest makes room")
	for i := 1; i < 4; i++ {
		_, ok = l.take(laneOf(strconv.Itoa(i)))
		require.True(t, ok)
	}

	one := standingOf("p", "c", 1)
	l = newLanes(1000, 2*one.size())
	for i := range 3 {
		l.put(standingOf(strconv.Itoa(i), "c", 1))
	}
	require.Len(t, l.byLane, 2)
	require.Equal(t, 2*one.size(), l.bytes)
	huge := standingOf("huge", "c", 1)
	huge.conversation.FlowState = make([]byte, 3*one.size())
	l.put(huge)
	require.Empty(t, l.byLane, "what is too large by itself is not kept")
	require.Zero(t, l.bytes)
}

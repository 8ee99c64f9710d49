package turn

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

func TestAgentsAreRemembered(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a := newAgents()
	known := func(instance, id string, at time.Time) bool {
		agent, ok := a.get(instance, id, at)
		require.True(t, !ok || agent.Instance == instance && agent.ID == id)
		return ok
	}
	a.put(a.mark(), store.Agent{Instance: "acme", ID: "a1"}, now)
	a.put(a.mark(), store.Agent{Instance: "acme", ID: "a2"}, now)
	require.True(t, known("acme", "a1", now))
	require.True(t, known("acme", "a1", now.Add(agentAge-1)))
	require.False(t, known("acme", "a1", now.Add(agentAge)))
	require.False(t, known("acme", "a1", now.Add(-1)), "a clock that went back tells nothing of ages")
	require.False(t, known("other", "a1", now))

	mark := a.mark()
	a.drop("acme", "a1")
	require.False(t, known("acme", "a1", now))
	require.True(t, known("acme", "a2", now))
	a.put(mark, store.Agent{Instance: "acme", ID: "a1"}, now)
	require.False(t, known("acme", "a1", now), "it was read before it changed")
	a.put(a.mark(), store.Agent{Instance: "acme", ID: "a1"}, now)
	require.True(t, known("acme", "a1", now))
}

func TestRememberedAgentsAreBounded(t *testing.T) {
	a := newAgents()
	for i := range maxAgents + 1 {
		a.put(a.mark(), store.Agent{Instance: "acme", ID: strconv.Itoa(i)}, time.Time{})
		require.LessOrEqual(t, len(a.byID), maxAgents)
	}
	_, ok := a.get("acme", strconv.Itoa(maxAgents), time.Time{})
	require.True(t, ok)
}

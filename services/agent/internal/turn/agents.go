package turn

import (
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

const (
	// agentAge is how old the knowledge of an agent may be by which a turn runs: for so long an agent that another process deleted
	// goes on with the conversations that it has.
	agentAge = 2 * time.Second
	// maxAgents bounds how many are remembered.
	maxAgents = 4096
)

// agents remembers agents that were found in the store, for agentAge. Nothing is remembered of those that are deleted. It is safe for
// concurrent use.
type agents struct {
	mu      sync.RWMutex
	byID    map[agentKey]knownAgent
	changes uint64 // how often drop was called
}

type agentKey struct{ instance, id string }

type knownAgent struct {
	agent store.Agent
	read  time.Time
}

func newAgents() *agents { return &agents{byID: make(map[agentKey]knownAgent)} }

// get is an agent that was read less than agentAge ago.
func (a *agents) get(instance, id string, now time.Time) (store.Agent, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	known, ok := a.byID[agentKey{instance, id}]
	age := now.Sub(known.read)
	return known.agent, ok && age >= 0 && age < agentAge
}

// mark is asked for before an agent is read, and given to put.
func (a *agents) mark() uint64 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.changes
}

// put remembers an agent that was read no earlier than at the given time; not when any agent was dropped since the mark, for it
// may be what was read.
func (a *agents) put(mark uint64, agent store.Agent, read time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if mark != a.changes {
		return
	}
	if len(a.byID) >= maxAgents {
		clear(a.byID) // the busy ones are back at their next turn
	}
	a.byID[agentKey{agent.Instance, agent.ID}] = knownAgent{agent: agent, read: read}
}

// drop forgets an agent.
func (a *agents) drop(instance, id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes++
	delete(a.byID, agentKey{instance, id})
}

// dropAll is drop for every agent.
func (a *agents) dropAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes++
	clear(a.byID)
}

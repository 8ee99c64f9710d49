package turn

import (
	"context"
	"errors"
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// position is what a turn begins with.
type position struct {
	*store.Position
	// remembered says that it was not read for this turn: there is an open conversation in it, which the commit checks, and an agent
	// that was there not long ago.
	remembered bool
}

// remembered is the position of a turn when it needs no look-up: it goes on with a conversation that this process moved on last. It
// is nil otherwise, and when it was this very turn that moved it. Turns before that are found out by the commit.
func (r *Runner) remembered(lane store.Lane, turnID string, now time.Time) *position {
	agent, ok := r.agents.get(lane.Instance, lane.AgentID, now)
	if !ok {
		return nil
	}
	s, ok := r.lanes.take(lane)
	if !ok || s.conversation.LastTurnID == turnID {
		return nil
	}
	return &position{Position: &store.Position{Agent: agent, Conversation: &s.conversation}, remembered: true}
}

// read is the position of a turn as the store has it. Errors: AGENT_NOT_FOUND, those of the store.
func (r *Runner) read(ctx context.Context, lane store.Lane, turnID string) (*position, error) {
	mark, began := r.agents.mark(), r.Clock.Now()
	found, err := r.Store.Position(ctx, lane, turnID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, agentNotFound(lane.AgentID)
	}
	if err != nil {
		return nil, err
	}
	if !found.Deleted {
		r.agents.put(mark, found.Agent, began)
	}
	return &position{Position: found}, nil
}

package turn_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
)

// countingStore counts the look-ups of positions.
type countingStore struct {
	turn.Store
	looked atomic.Int64
}

func (s *countingStore) Position(ctx context.Context, lane store.Lane, turnID string) (*store.Position, error) {
	s.looked.Add(1)
	return s.Store.Position(ctx, lane, turnID)
}

// remembering runs a test on both engines with an agent a2 that goes on for ever, in a conversation that two turns have been in, the
// last under the id m2. here is the runner that remembers it, there another process's.
func remembering(t *testing.T, test func(t *testing.T, f *fixture, s *countingStore, here, there *turn.Runner)) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createAgent(t, "acme", "a2", echoing())
		s := &countingStore{Store: f.store}
		deps := f.deps
		deps.Store = s
		here := turn.NewRunner(deps)
		run(t, here, to("m1", "oi"))
		run(t, here, to("m2", "oi"))
		require.EqualValues(t, 1, s.looked.Swap(0), "a conversation that goes on needs no look-up")
		test(t, f, s, here, turn.NewRunner(f.deps))
	})
}

// to is a message to a2.
func to(messageID, text string) *agentv1.RunTurnRequest {
	m := message(messageID, text)
	m.AgentId = "a2"
	return m
}

func run(t *testing.T, r *turn.Runner, m *agentv1.RunTurnRequest) *agentv1.RunTurnResponse {
	t.Helper()
	response, err := r.Run(t.Context(), m, engine.Discard)
	require.NoError(t, err)
	return response
}

func TestRememberedConversationGoesOn(t *testing.T) {
	remembering(t, func(t *testing.T, f *fixture, s *countingStore, here, there *turn.Runner) {
		third := run(t, here, to("m3", "tudo bem?"))
		require.Equal(t, []string{"eco: tudo bem?"}, texts(third))
		require.Equal(t, "interaction-1", third.GetInteractionId())
		require.Zero(t, s.looked.Load())
		requireEqual(t, third, run(t, there, to("m3", "tudo bem?")))
		other := to("m4", "oi")
		other.Identifier = "maria"
		require.Equal(t, "interaction-2", run(t, here, other).GetInteractionId())
		require.EqualValues(t, 1, s.looked.Load())
	})
}

func TestRepeatIsNotRunOnWhatIsRemembered(t *testing.T) {
	remembering(t, func(t *testing.T, f *fixture, s *countingStore, here, there *turn.Runner) {
		second := run(t, there, to("m2", "oi"))
		requireEqual(t, second, run(t, here, to("m2", "oi")))
		require.EqualValues(t, 1, s.looked.Swap(0), "the last turn is known by its id")
		run(t, here, to("m3", "oi"))
		run(t, here, to("m4", "oi"))
		s.looked.Store(0)
		first := run(t, there, to("m1", "oi"))
		requireEqual(t, first, run(t, here, to("m1", "oi")))
		require.EqualValues(t, 1, s.looked.Load(), "an earlier one is found out by the commit")
		require.Equal(t, 4, f.count(t, `SELECT count(*) FROM turn`))
		require.Equal(t, 4, f.count(t, `SELECT count(*) FROM pending_record`))
	})
}

func TestStaleMemoryIsFoundOut(t *testing.T) {
	remembering(t, func(t *testing.T, f *fixture, s *countingStore, here, there *turn.Runner) {
		run(t, there, to("m3", "oi"))
		run(t, here, to("m4", "oi"))
		require.EqualValues(t, 1, s.looked.Swap(0))
		run(t, here, to("m5", "oi"))
		require.Zero(t, s.looked.Load())
		require.Equal(t, 5, f.count(t, `SELECT max(number) FROM turn`))
		require.Equal(t, 10, f.count(t, `SELECT messages FROM conversation`))

		require.NoError(t, f.store.FinishIdle(t.Context(), "acme", &store.Conversation{ID: "interaction-1", LastTurn: 5}, start))
		require.Equal(t, "interaction-2", run(t, here, to("m6", "oi")).GetInteractionId(), "the conversation was ended elsewhere")
	})
}

func TestFinishedConversationIsForgotten(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		s := &countingStore{Store: f.store}
		f.deps.Store = s
		f.runner = turn.NewRunner(f.deps)
		f.run(t, message("m1", "oi"))
		last := f.run(t, message("m2", "João"))
		require.True(t, last.GetFinished())
		require.EqualValues(t, 1, s.looked.Load())
		requireEqual(t, last, f.run(t, message("m2", "João")))
		require.Equal(t, "interaction-2", f.run(t, message("m3", "oi")).GetInteractionId())
		requireEqual(t, last, f.run(t, message("m2", "João")))
		require.EqualValues(t, 4, s.looked.Load())
		require.Equal(t, 3, f.count(t, `SELECT count(*) FROM turn`))
	})
}

// What is remembered of a conversation says that it is idle, but it is not: no attendance is opened.
func TestIdlenessIsLookedUp(t *testing.T) {
	remembering(t, func(t *testing.T, f *fixture, s *countingStore, here, there *turn.Runner) {
		f.clock.Advance(time.Second)
		run(t, there, to("m3", "oi"))
		late := to("m4", "oi")
		late.AcceptTime = timestamppb.New(start.Add(inactivity))
		require.Equal(t, "interaction-1", run(t, here, late).GetInteractionId())
		require.Equal(t, 1, f.contacts.opened())
		late = to("m5", "oi")
		late.AcceptTime = timestamppb.New(start.Add(inactivity + time.Second))
		require.Equal(t, "interaction-2", run(t, here, late).GetInteractionId())
		require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE state = 'FINISHED'`))
	})
}

func TestDeletedAgentIsForgotten(t *testing.T) {
	for _, c := range []struct {
		name    string
		told    bool
		elapsed time.Duration
	}{
		{"here", true, 0},
		{"elsewhere", false, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			remembering(t, func(t *testing.T, f *fixture, s *countingStore, here, there *turn.Runner) {
				require.NoError(t, f.store.DeleteAgent(t.Context(), "acme", "a2", start))
				if c.told {
					here.AgentChanged("acme", "a2")
				} else {
					f.clock.Advance(c.elapsed - 1)
					run(t, here, to("m3", "oi")) // and this turn does not make it last longer
					f.clock.Advance(1)
				}
				_, err := here.Run(t.Context(), to("m4", "oi"), engine.Discard)
				requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
				require.Zero(t, f.count(t, `SELECT count(*) FROM turn WHERE id = 'm4'`))
			})
		})
	}
}

// The agent is looked up again now and then; what is remembered of the conversation stays true meanwhile.
func TestAgentIsLookedUpAgain(t *testing.T) {
	remembering(t, func(t *testing.T, f *fixture, s *countingStore, here, _ *turn.Runner) {
		f.clock.Advance(2 * time.Second)
		other := to("n1", "oi")
		other.Identifier = "maria"
		run(t, here, other)
		require.EqualValues(t, 1, s.looked.Swap(0))
		run(t, here, to("m3", "oi"))
		require.Zero(t, s.looked.Load())
	})
}

func TestFailedCommitIsForgotten(t *testing.T) {
	for _, after := range []bool{false, true} {
		remembering(t, func(t *testing.T, f *fixture, s *countingStore, here, _ *turn.Runner) {
			s.Store = &faultyStore{Store: f.store, method: "CommitTurn", after: after, err: errLost}
			_, err := here.Run(t.Context(), to("m3", "oi"), engine.Discard)
			requireReason(t, err, codes.Unavailable, "UNAVAILABLE")
			require.Zero(t, s.looked.Load())
			require.Equal(t, []string{"eco: oi"}, texts(run(t, here, to("m3", "oi"))))
			require.EqualValues(t, 1, s.looked.Load())
			require.Equal(t, 3, f.count(t, `SELECT count(*) FROM turn`))
		})
	}
}

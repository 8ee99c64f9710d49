package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent"
)

// run starts the workers; the function that it returns stops them.
func (f *fixture) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(f.service.Workers()))
	for _, w := range f.service.Workers() {
		go func() { done <- w.Run(ctx) }()
	}
	return func() {
		cancel()
		for range f.service.Workers() {
			require.NoError(t, <-done)
		}
	}
}

func TestMessageIsAnsweredAndRecorded(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		defer f.run(t)()
		created := f.create(t, "acme", &agentv1.Agent{})
		found, err := f.turns.LookupAgent(t.Context(), &agentv1.LookupAgentRequest{Instance: "acme", AgentId: created.GetId()})
		require.NoError(t, err)
		require.Equal(t, created.GetAssistantId(), found.GetAssistantId())

		answer, err := f.turns.RunTurn(t.Context(), &agentv1.RunTurnRequest{
			Instance: "acme", AgentId: created.GetId(), MessageId: "m1", Source: "api_channel", EndpointId: "e1", Identifier: "joão",
			Text: "bom dia", AcceptTime: timestamppb.New(start),
		})
		require.NoError(t, err)
		require.Len(t, answer.GetMessages(), 1)
		require.Equal(t, "eco: bom dia", answer.GetMessages()[0].GetText().GetText())

		select {
		case turn := <-f.contacts.recorded:
			requireEqual(t, &contactsv1.TurnRecord{
				TurnId: "m1", AttendanceId: 1, UserTime: timestamppb.New(start), UserText: "bom dia",
				AnswerTime: timestamppb.New(start), Answer: answer.GetMessages(),
			}, turn)
		case <-time.After(10 * time.Second):
			require.FailNow(t, "the turn was not recorded")
		}
	})
}

// What turns remember of an agent does not outlive a change by the same process, not for a moment.
func TestChangedAgentIsSeenByTheNextTurn(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		created := f.create(t, "acme", &agentv1.Agent{
			DisplayName: "Ana", Definition: yaml("displayName: Eco\nfallback: eco\nnodes:\n  eco:\n    say:\n      - text: \"{{ agent.name }}\"\n"),
		})
		turn := func(messageID string) (*agentv1.RunTurnResponse, error) {
			return f.turns.RunTurn(t.Context(), &agentv1.RunTurnRequest{
				Instance: "acme", AgentId: created.GetId(), MessageId: messageID, Source: "api_channel", EndpointId: "e1", Identifier: "joão",
				Text: "oi", AcceptTime: timestamppb.New(start),
			})
		}
		for i, name := range []string{"Ana", "Bia"} {
			if i > 0 {
				_, err := f.UpdateAgent(t.Context(), &agentv1.UpdateAgentRequest{
					Instance: "acme", Id: created.GetId(), Agent: &agentv1.Agent{DisplayName: name},
					UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
				})
				require.NoError(t, err)
			}
			for _, messageID := range []string{"first of " + name, "second of " + name} {
				answer, err := turn(messageID)
				require.NoError(t, err)
				require.Equal(t, name, answer.GetMessages()[0].GetText().GetText())
			}
		}
		_, err := f.DeleteAgent(t.Context(), &agentv1.DeleteAgentRequest{Instance: "acme", Id: created.GetId()})
		require.NoError(t, err)
		_, err = turn("last")
		requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
	})
}

func TestWorkersAndReadiness(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		var names []string
		for _, w := range f.service.Workers() {
			names = append(names, w.Name())
		}
		require.Equal(t, []string{"agent-replica", "agent-recorder", "agent-idle", "agent-sweep", "agent-scrubber", "agent-retention", "agent-calls", "agent models", "agent remotes", "agent-chat", "agent-search-index"}, names)
		require.NoError(t, f.service.Ready(t.Context()))
		require.NoError(t, f.deps.DB.Close())
		require.ErrorContains(t, f.service.Ready(t.Context()), "agent: store does not answer")
		_, err := agent.New(agent.Config{}, f.deps)
		require.ErrorContains(t, err, "register metrics")
		deps := f.deps
		deps.Metrics = nil
		_, err = agent.New(agent.Config{}, deps)
		require.NoError(t, err)
	})
}

func TestIdempotencyRecordsAreSwept(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		_, err := f.CreateAgent(withKey(t.Context(), "k"), &agentv1.CreateAgentRequest{
			Instance: "acme", Agent: &agentv1.Agent{Definition: yaml(eco)},
		})
		require.NoError(t, err)
		records := func() (n int) {
			row := f.deps.DB.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM idempotency`)
			require.NoError(t, row.Scan(&n))
			return n
		}
		require.Equal(t, 1, records())
		f.clock.Advance(24 * time.Hour)
		defer f.run(t)()
		require.Eventually(t, func() bool { return records() == 0 }, 10*time.Second, time.Millisecond)
	})
}

package agent_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

const unknownAgent = "0123456789abcdef01234567"

func says(name, words string) string {
	return fmt.Sprintf("displayName: %s\nfallback: f\nnodes:\n  f: {say: [{text: %s}]}\n", name, words)
}

func (f *fixture) publish(t *testing.T, agentID, definition string) *agentv1.Agent {
	t.Helper()
	response, err := f.UpdateAgent(t.Context(), &agentv1.UpdateAgentRequest{
		Instance: "acme", Id: agentID, Agent: &agentv1.Agent{Definition: yaml(definition)},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"definition"}},
	})
	require.NoError(t, err)
	return response.GetAgent()
}

func (f *fixture) say(t *testing.T, agentID, messageID, identifier string) string {
	t.Helper()
	answer, err := f.turns.RunTurn(t.Context(), &agentv1.RunTurnRequest{
		Instance: "acme", AgentId: agentID, MessageId: messageID, Source: "api_channel", EndpointId: "e1", Identifier: identifier,
		Text: "oi", AcceptTime: timestamppb.New(start),
	})
	require.NoError(t, err)
	return answer.GetMessages()[0].GetText().GetText()
}

func TestVersionsAndRollback(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		created := f.create(t, "acme", &agentv1.Agent{Definition: yaml(says("Um", "um"))})
		id := created.GetId()
		require.Equal(t, "um", f.say(t, id, "m1", "ana"))
		f.publish(t, id, says("Dois", "dois"))
		f.publish(t, id, says("Três", "três"))
		require.Equal(t, "um", f.say(t, id, "m2", "ana"), "a running conversation stays on its version")
		require.Equal(t, "três", f.say(t, id, "m3", "bia"))

		back, err := f.RollbackAgent(ctx, &agentv1.RollbackAgentRequest{Instance: "acme", Id: id, Version: 2})
		require.NoError(t, err)
		require.EqualValues(t, 4, back.GetAgent().GetVersion())
		require.Equal(t, "Dois", back.GetAgent().GetDisplayName())
		require.Equal(t, says("Dois", "dois"), back.GetAgent().GetDefinition().GetStringValue())
		requireEqual(t, back.GetAgent(), f.get(t, "acme", id))
		require.Equal(t, "dois", f.say(t, id, "m4", "caio"))
		require.Equal(t, "três", f.say(t, id, "m5", "bia"))
		again, err := f.RollbackAgent(ctx, &agentv1.RollbackAgentRequest{Instance: "acme", Id: id, Version: 2})
		require.NoError(t, err)
		requireEqual(t, back.GetAgent(), again.GetAgent())

		page, err := f.ListAgentVersions(ctx, &agentv1.ListAgentVersionsRequest{Instance: "acme", Id: id, PageSize: 3})
		require.NoError(t, err)
		last, err := f.ListAgentVersions(ctx, &agentv1.ListAgentVersionsRequest{Instance: "acme", Id: id, PageSize: 3, PageToken: page.GetNextPageToken()})
		require.NoError(t, err)
		require.Empty(t, last.GetNextPageToken())
		var numbers []int32
		for _, v := range append(page.GetVersions(), last.GetVersions()...) {
			numbers = append(numbers, v.GetVersion())
			require.Nil(t, v.GetDefinition())
			require.NotNil(t, v.GetCreateTime())
		}
		require.Equal(t, []int32{4, 3, 2, 1}, numbers)
		one, err := f.GetAgentVersion(ctx, &agentv1.GetAgentVersionRequest{Instance: "acme", Id: id, Version: 1})
		require.NoError(t, err)
		require.Equal(t, says("Um", "um"), one.GetAgentVersion().GetDefinition().GetStringValue())
		requireEqual(t, created.GetCreateTime(), one.GetAgentVersion().GetCreateTime())

		other := f.create(t, "acme", &agentv1.Agent{})
		for _, c := range []struct {
			instance, id, reason string
			version              int32
		}{
			{"acme", id, "AGENT_VERSION_NOT_FOUND", 5},
			{"acme", other.GetId(), "AGENT_VERSION_NOT_FOUND", 2},
			{"acme", unknownAgent, "AGENT_NOT_FOUND", 1},
			{"acme", "x", "AGENT_NOT_FOUND", 1},
			{"other", id, "AGENT_NOT_FOUND", 1},
		} {
			_, err := f.GetAgentVersion(ctx, &agentv1.GetAgentVersionRequest{Instance: c.instance, Id: c.id, Version: c.version})
			requireReason(t, err, codes.NotFound, c.reason)
			_, err = f.RollbackAgent(ctx, &agentv1.RollbackAgentRequest{Instance: c.instance, Id: c.id, Version: c.version})
			requireReason(t, err, codes.NotFound, c.reason)
			_, err = f.TestAgent(ctx, &agentv1.TestAgentRequest{Instance: c.instance, Id: c.id, Version: c.version, Text: "oi"})
			requireReason(t, err, codes.NotFound, c.reason)
		}
		_, err = f.ListAgentVersions(ctx, &agentv1.ListAgentVersionsRequest{Instance: "other", Id: id})
		requireReason(t, err, codes.NotFound, "AGENT_NOT_FOUND")
		_, err = f.ListAgentVersions(ctx, &agentv1.ListAgentVersionsRequest{Instance: "acme", Id: other.GetId(), PageToken: page.GetNextPageToken()})
		requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
	})
}

package agent_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// TestWhatANewerReleaseStoredIsKept has a conversation that a later release worked on too, as while one is rolled out: fields and values
// of enums that this program does not know are in the state of the flow and in an answer. They are given as they are, and stay through
// turns, a handoff and its end.
func TestWhatANewerReleaseStoredIsKept(t *testing.T) {
	eachDesk(t, func(t *testing.T, p *people) {
		unknown := protowire.AppendString(protowire.AppendTag(nil, 1000, protowire.BytesType), "of a later release")
		said := p.said(t, "m1", "bom dia")
		state := func() *agentv1.FlowState {
			t.Helper()
			var raw []byte
			require.NoError(t, p.deps.DB.Reader().QueryRowContext(t.Context(),
				"SELECT flow_state FROM conversation WHERE instance = 'acme' AND id = $1", said.GetInteractionId()).Scan(&raw))
			found := &agentv1.FlowState{}
			require.NoError(t, proto.Unmarshal(raw, found))
			return found
		}
		later := state()
		later.ProtoReflect().SetUnknown(unknown)
		raw, err := proto.Marshal(later)
		require.NoError(t, err)
		_, err = p.deps.DB.Exec1(t.Context(), "UPDATE conversation SET flow_state = $1 WHERE instance = 'acme' AND id = $2", raw, said.GetInteractionId())
		require.NoError(t, err)
		answer := proto.CloneOf(said)
		answer.ProtoReflect().SetUnknown(unknown)
		answer.Messages[0].Origin = messagev1.Origin(77)
		raw, err = proto.Marshal(answer)
		require.NoError(t, err)
		_, err = p.deps.DB.Exec1(t.Context(), "UPDATE turn SET answer = $1 WHERE instance = 'acme' AND id = 'm1'", raw)
		require.NoError(t, err)

		requireEqual(t, answer, p.said(t, "m1", "bom dia"))
		p.said(t, "m2", "boa tarde")
		require.EqualValues(t, unknown, state().ProtoReflect().GetUnknown(), "after a turn")
		p.said(t, "m3", "quero falar com atendente")
		require.NotNil(t, state().GetHandoff())
		_, err = p.handBack(t.Context(), said.GetAttendanceId())
		require.NoError(t, err)
		require.Nil(t, state().GetHandoff())
		require.EqualValues(t, unknown, state().ProtoReflect().GetUnknown(), "after a handoff")
	})
}

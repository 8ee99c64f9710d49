package flow_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// TestStateOfANewerReleaseIsKept has a turn run on a state with fields that a later release keeps, in the state and in what it holds,
// as while both are at work: they are there after the turn.
func TestStateOfANewerReleaseIsKept(t *testing.T) {
	program := compile(t, `
displayName: A
fallback: f
nodes: {f: {say: [{text: "{{ input.text }}"}]}}`)
	unknown := protowire.AppendString(protowire.AppendTag(nil, 1000, protowire.BytesType), "kept by a later release")
	menu := &agentv1.SentMenu{Msgid: "m", Node: "f", Options: []*agentv1.SentOption{{Label: "a", Value: "a"}}}
	handoff := &agentv1.OpenHandoff{Node: "f", Squad: "people"}
	state := &agentv1.FlowState{Menus: []*agentv1.SentMenu{menu}, Handoff: handoff}
	for _, m := range []proto.Message{state, menu, handoff} {
		m.ProtoReflect().SetUnknown(unknown)
	}
	stored, err := proto.Marshal(state)
	require.NoError(t, err)
	read := &agentv1.FlowState{}
	require.NoError(t, proto.Unmarshal(stored, read))

	result := run(t, program, flow.Turn{State: read, Text: "good morning"})
	for _, m := range []proto.Message{result.State, result.State.GetMenus()[0], result.State.GetHandoff()} {
		require.EqualValues(t, unknown, m.ProtoReflect().GetUnknown())
	}
	result = run(t, program, flow.Turn{Text: "good morning", Opening: true})
	require.Empty(t, result.State.ProtoReflect().GetUnknown())
}

package flow_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// sent is what comes with a message.
func sent(t *testing.T, json string) map[string]*structpb.Value {
	t.Helper()
	var s structpb.Struct
	require.NoError(t, s.UnmarshalJSON([]byte(json)))
	return s.GetFields()
}

func TestSentValuesAreContext(t *testing.T) {
	program := compile(t, `
displayName: A
fallback: f
nodes:
  f:
    set: {context.flow: "{{ context.text }}!"}
    say: [{text: "{{ context.text }} {{ context.number }} {{ context.yes }} {{ context.deep.list[1] }} {{ context.flow }}"}]
    branch: [{when: "context.number > 2 && context.yes", goto: end}]
  end: {end: true}`)
	state := &agentv1.FlowState{Context: &structpb.Struct{Fields: sent(t, `{"text":"old","kept":"k"}`)}}
	before := proto.CloneOf(state)
	given := sent(t, `{"text":"novo","number":2,"yes":true,"none":null,"deep":{"list":[1,"dois"]}}`)
	result := run(t, program, flow.Turn{State: state, Text: "x", Sent: given})
	require.Equal(t, "novo 2 true dois novo!", result.Messages[0].GetText().GetText())
	require.True(t, proto.Equal(before, state), "the given state was changed")
	require.Len(t, given, 5)
	want := sent(t, `{"text":"novo","kept":"k","number":2,"yes":true,"none":null,"deep":{"list":[1,"dois"]},"flow":"novo!"}`)
	requireFields(t, want, result.Context)
	requireFields(t, want, result.State.GetContext().GetFields())

	// What a finished conversation kept is given once more, and not kept.
	result = run(t, program, flow.Turn{State: result.State, Text: "x", Sent: sent(t, `{"number":3}`)})
	require.True(t, result.Finished)
	require.Zero(t, proto.Size(result.State))
	want["number"] = structpb.NewNumberValue(3)
	requireFields(t, want, result.Context)
}

func requireFields(t *testing.T, want, got map[string]*structpb.Value) {
	t.Helper()
	require.Equal(t, (&structpb.Struct{Fields: want}).AsMap(), (&structpb.Struct{Fields: got}).AsMap())
}

func TestSentValuesHaveALimit(t *testing.T) {
	program := compile(t, "displayName: A\nfallback: f\nnodes: {f: {set: {context.set: 'a'}}}")
	full := strings.Repeat("x", flow.MaxKept-len("big"))
	result := run(t, program, flow.Turn{Text: "x", Sent: map[string]*structpb.Value{
		"big": structpb.NewStringValue(full), "c": structpb.NewNumberValue(1),
	}})
	require.Len(t, result.Context, 1, "in the order of their names, as long as there is room")
	require.Equal(t, full, result.Context["big"].GetStringValue())
	// A value that takes the place of another frees that one's room.
	result = run(t, program, flow.Turn{State: result.State, Text: "x", Sent: map[string]*structpb.Value{"big": structpb.NewStringValue("small")}})
	require.Equal(t, "small", result.Context["big"].GetStringValue())
	require.Equal(t, "a", result.Context["set"].GetStringValue())

	list := make([]*structpb.Value, flow.MaxKept/4)
	for i := range list {
		list[i] = structpb.NewNumberValue(1)
	}
	result = run(t, program, flow.Turn{Text: "x", Sent: map[string]*structpb.Value{"list": structpb.NewListValue(&structpb.ListValue{Values: list})}})
	require.NotContains(t, result.Context, "list", "what is no text counts too")
	for i := range 10 {
		state := result.State
		result = run(t, program, flow.Turn{State: state, Text: "x", Sent: map[string]*structpb.Value{
			string(rune('a' + i)): structpb.NewListValue(&structpb.ListValue{Values: list[:5000]}),
		}})
		require.Less(t, proto.Size(result.State), flow.MaxKept+1024)
	}
}

func TestWithoutInputTheStartRuns(t *testing.T) {
	program := compile(t, `
displayName: A
start: hi
fallback: f
nodes:
  hi: {say: [{text: "oi {{ context.name }}{{ has(input.text) ? 'x' : '' }}"}], goto: ask}
  ask: {ask: {text: "CPF?", save: contact.doc}, goto: done}
  done: {say: [{text: "{{ contact.doc }}"}]}
  f: {say: [{text: f}]}`)
	words := func(result *flow.Result) (all []string) {
		for _, m := range result.Messages {
			all = append(all, m.GetText().GetText())
		}
		return all
	}
	opened := run(t, program, flow.Turn{Opening: true, NoInput: true, Sent: sent(t, `{"name":"Ana"}`)})
	require.Equal(t, []string{"oi Ana", "CPF?"}, words(opened))
	again := run(t, program, flow.Turn{State: opened.State, NoInput: true})
	require.Equal(t, []string{"oi Ana", "CPF?"}, words(again), "also when the conversation is open")
	require.Equal(t, "ask", again.State.GetAsk().GetNode())
	require.Zero(t, again.State.GetAsk().GetTries())
	require.Equal(t, []string{"123"}, words(run(t, program, flow.Turn{State: again.State, Text: "123"})))

	noStart := compile(t, `
displayName: A
fallback: f
nodes: {f: {ask: {text: "CPF?", save: contact.doc}}}`)
	silent := run(t, noStart, flow.Turn{Opening: true, NoInput: true, Sent: sent(t, `{"a":1}`)})
	require.Empty(t, silent.Messages, "nothing was said, so nothing was not understood")
	require.Empty(t, silent.Node)
	requireFields(t, sent(t, `{"a":1}`), silent.State.GetContext().GetFields())
	asked := run(t, noStart, flow.Turn{State: silent.State, Text: "x"})
	require.NotNil(t, asked.State.GetAsk())
	require.NotNil(t, run(t, noStart, flow.Turn{State: asked.State, NoInput: true}).State.GetAsk(), "the question stays open")
}

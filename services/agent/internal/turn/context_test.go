package turn_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// contextual is an agent that says what it finds in the context, and adds to it.
func contextual() *agentv1.AgentDefinition {
	return &agentv1.AgentDefinition{
		DisplayName: "Contexto", Start: "hi", Fallback: "f",
		Nodes: map[string]*agentv1.Node{
			"hi": {Set: map[string]string{"context.greeted": "sim"}, Say: []*agentv1.Say{say("oi {{ context.name }}")}},
			"f":  {Say: []*agentv1.Say{say("{{ context.name }} {{ context.greeted }} {{ input.text }}")}, End: true},
		},
	}
}

func TestContextGoesInAndOut(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createAgent(t, "acme", "a2", contextual())
		to := func(id, text, context string) *agentv1.RunTurnRequest {
			r := message(id, text)
			r.AgentId, r.Source, r.ReturnContext = "a2", "api", true
			if context != "" {
				r.Context = &structpb.Struct{}
				require.NoError(t, r.Context.UnmarshalJSON([]byte(context)))
			}
			return r
		}
		opening := to("m1", "", `{"name":"Ana","n":{"deep":[1]}}`)
		opening.NoInput = true
		opened := f.run(t, opening)
		require.Equal(t, []string{"oi Ana"}, texts(opened))
		require.Equal(t, map[string]any{"name": "Ana", "greeted": "sim", "n": map[string]any{"deep": []any{1.0}}}, opened.GetContext().AsMap())
		require.True(t, proto.Equal(opened, f.run(t, opening)), "the stored answer has the context too")

		last := f.run(t, to("m2", "tchau", `{"name":"Bia"}`))
		require.Equal(t, []string{"Bia sim tchau"}, texts(last))
		require.True(t, last.GetFinished())
		require.Equal(t, map[string]any{"name": "Bia", "greeted": "sim", "n": map[string]any{"deep": []any{1.0}}}, last.GetContext().AsMap())

		quiet := to("m3", "oi", "")
		quiet.ReturnContext = false
		require.Nil(t, f.run(t, quiet).GetContext(), "only when asked for")

		empty := message("m4", "oi")
		empty.ReturnContext = true
		require.NotNil(t, f.run(t, empty).GetContext())
		require.Empty(t, f.run(t, empty).GetContext().GetFields())
	})
}

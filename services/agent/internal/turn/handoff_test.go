package turn_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// handing is an agent that knows when somebody asks for a person.
func handing() *agentv1.AgentDefinition {
	say := func(text string) []*agentv1.Say { return []*agentv1.Say{{Content: &agentv1.Say_Text{Text: text}}} }
	return &agentv1.AgentDefinition{
		DisplayName: "Loja", Fallback: "eco",
		Intents: []*agentv1.Intent{{Name: "human", Examples: []string{"falar com atendente"}, Goto: "human"}},
		Nodes: map[string]*agentv1.Node{
			"eco": {Say: say("eco: {{ input.text }}")},
			"human": {
				Say: say("Vou chamar alguém."), Event: &agentv1.EventAction{Name: "transbordo"}, Handoff: &agentv1.Handoff{Skill: "vendas"},
			},
		},
	}
}

func TestAfterAHandoffTheAgentIsSilent(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createAgent(t, "acme", "a9", handing())
		said := func(id, text string) *agentv1.RunTurnResponse {
			request := message(id, text)
			request.AgentId = "a9"
			return f.run(t, request)
		}
		require.Equal(t, []string{"eco: oi"}, texts(said("m1", "oi")))
		handoff := said("m2", "quero falar com um atendente")
		require.Equal(t, []string{"Vou chamar alguém."}, texts(handoff))
		require.Equal(t, "human", handoff.GetDebug().GetIntent())
		require.Greater(t, handoff.GetDebug().GetConfidence(), 0.6)
		require.False(t, handoff.GetFinished())

		for _, id := range []string{"m3", "m4"} {
			silent := said(id, "tem alguém aí?")
			require.Empty(t, silent.GetMessages())
			require.Equal(t, handoff.GetInteractionId(), silent.GetInteractionId())
		}
		require.Equal(t, 1, f.count(t, `SELECT count(*) FROM conversation WHERE epoch = 1 AND last_turn = 4 AND messages = 6`))
		require.Equal(t, 4, f.count(t, `SELECT count(*) FROM pending_record`), "what the person says goes into the history")
		requireEqual(t, handoff, said("m2", "quero falar com um atendente"))
	})
}

package flow_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// BenchmarkRun is a typical turn: an option is picked, a value is kept, a greeting with an expression and a menu are answered.
func BenchmarkRun(b *testing.B) {
	program := compile(b, `
displayName: Loja
start: welcome
fallback: welcome
nodes:
  welcome:
    set: {context.turns: "{{ has(context.turns) ? int(context.turns) + 1 : 1 }}"}
    say:
      - text: "Olá{{ has(contact.name) ? ', ' + contact.name : '' }}!"
      - text: "Que bom ver você."
      - buttons:
          text: "Como posso ajudar?"
          options: [{label: Meu pedido, goto: welcome}, {label: Produtos, goto: welcome}, {label: Falar com atendente, goto: welcome}]
`)
	turn := flow.Turn{
		Opening: true, Text: "oi", Now: now, Location: saoPaulo, NewID: newID, Attributes: map[string]string{"name": "Ana", "email": "ana@example.com"},
	}
	var state *agentv1.FlowState
	for range 5 {
		state = run(b, program, turn).State
		turn.State, turn.Opening = state, false
	}
	turn.Text, turn.Postback = "Produtos", "index1"
	b.Run("turn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := program.Run(b.Context(), turn, flow.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("eco", func(b *testing.B) {
		eco := compile(b, `{displayName: Eco, fallback: eco, nodes: {eco: {say: [{text: "eco: {{ input.text }}"}]}}}`)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := eco.Run(b.Context(), flow.Turn{Text: "oi", Now: now, Location: saoPaulo, NewID: newID}, flow.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Logf("state of %d menus: %d bytes", len(state.GetMenus()), proto.Size(state))
}

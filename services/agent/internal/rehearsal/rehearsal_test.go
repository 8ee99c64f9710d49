package rehearsal_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/rehearsal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const everything = `
displayName: Tudo
start: hi
fallback: f
intents: [{name: bye, examples: [tchau], goto: bye}, {name: people, examples: [atendente], goto: people}]
nodes:
  hi:
    set: {context.at: "{{ now.getHours() }}:{{ now.getMinutes() }}", contact.seen: "sim"}
    say:
      - text: "Olá, {{ contact.name }}.\nSou {{ agent.name }} da {{ instance.name }}."
      - date: "Quando?"
      - media: {type: image, link: "https://example.com/a.png", filename: a.png, text: Foto}
      - list: {text: Escolha, items: [{label: Um, description: D}, {label: Dois}]}
      - list: {text: Seções, title: Abrir, sections: [{label: S, items: [{label: Três, goto: f}]}]}
    event: {name: e, details: {a: "1", b: "{{ context.company }}"}}
  f: {set: {contact.seen: ""}, say: [{text: "{{ input.label }}: {{ input.text }}"}]}
  bye: {set: {contact.last: "{{ now }}"}, end: true}
  people: {handoff: {squad: s}}
`

func define(t *testing.T, source string) *agentv1.AgentDefinition {
	t.Helper()
	def, err := definition.ParseYAML([]byte(source))
	require.NoError(t, err)
	return def
}

func TestACaseThatGoesAsWritten(t *testing.T) {
	outcomes, err := rehearsal.Run(t.Context(), define(t, everything), []byte(`
now: 2026-02-03T04:05:06
cases:
  - name: a
    contact: {name: Ana}
    turns:
      - user: oi
        sent: {company: Acme, number: 1.5, list: [1, a]}
        bot:
          - "Olá, Ana.\nSou Tudo da Exemplo."
          - "[date] Quando?"
          - "[image] https://example.com/a.png a.png Foto"
          - "[list Selecionar] Escolha | Um (D) | Dois"
          - "[list Abrir] Seções | # S | Três"
        node: hi
        intent: ""
        events: [{name: e, a: "1", b: Acme}]
        context: {at: "4:5", number: "1.5", list: '[1,"a"]', nothing: ""}
        contact: {name: Ana, seen: sim}
        handoff: ""
        end: false
      - {press: tres, bot: ["Três: Três"], contact: {seen: ""}}
      - {user: Tchau!, intent: bye, bot: [], end: true, contact: {last: "2026-02-03T04:05:06-03:00"}}
      - {open: true, after: 36h, node: hi, context: {at: "16:5"}, contact: {last: "2026-02-03T04:05:06-03:00"}}
      - {user: atendente, handoff: s}
      - {user: alô, bot: [], handoff: s}
  - name: b
    now: 2026-01-01T00:00:00
    turns:
      - {user: oi, context: {at: "0:0"}}
`))
	require.NoError(t, err)
	require.Equal(t, []rehearsal.Outcome{{Case: "a", Line: 4}, {Case: "b", Line: 27}}, outcomes)
}

func TestDifferences(t *testing.T) {
	outcomes, err := rehearsal.Run(t.Context(), define(t, everything), []byte(`
cases:
  - name: a
    turns:
      - {user: oi, bot: ["Olá, .\nSou eu.", "[date] Quando?", "Mais"]}
      - {user: tchau, node: x, intent: x, end: false, handoff: x, context: {a: x}, contact: {b: x}, events: [{name: y, z: "1"}]}
      - {open: true, bot: []}
      - {press: Quatro}
      - {user: never}
`))
	require.NoError(t, err)
	require.Equal(t, []rehearsal.Difference{
		{Turn: 1, Input: "user: oi", Lines: []string{
			"- bot: Olá, .", "- Sou eu.", "+ bot: Olá, .", "+ Sou Tudo da Exemplo.", "  bot: [date] Quando?", "- bot: Mais",
			"+ bot: [image] https://example.com/a.png a.png Foto", "+ bot: [list Selecionar] Escolha | Um (D) | Dois",
			"+ bot: [list Abrir] Seções | # S | Três",
		}},
		{Turn: 2, Input: "user: tchau", Lines: []string{
			"- event: y, z=1", "- node: x", "- intent: x", "- context.a: x", "- contact.b: x", "- handoff: x", "- end: false",
			"+ node: bye", "+ intent: bye", "+ context.a: ", "+ contact.b: ", "+ handoff: ", "+ end: true",
		}},
		{Turn: 3, Input: "(opened by a program)", Lines: []string{
			"+ bot: Olá, .", "+ Sou Tudo da Exemplo.", "+ bot: [date] Quando?", "+ bot: [image] https://example.com/a.png a.png Foto",
			"+ bot: [list Selecionar] Escolha | Um (D) | Dois", "+ bot: [list Abrir] Seções | # S | Três",
		}},
		{Turn: 4, Input: "press: Quatro", Lines: []string{"+ there is no such option"}},
	}, outcomes[0].Differences)
}

func TestCasesThatCannotBeRead(t *testing.T) {
	for text, want := range map[string]string{
		"":           "read cases: there are no cases",
		"cases: []":  "read cases: there are no cases",
		"cases: [1]": "line 1: cannot unmarshal",
		"case: []":   "line 1: field case not found",
		"cases:\n  - {name: a, turns: [{user: a}], turn: 1}":                "line 2: field turn not found",
		"cases:\n  - {turns: [{user: a}]}":                                  `line 2: case "": it has no name`,
		"cases:\n  - {name: a}":                                             `line 2: case "a": it has no turns`,
		"cases:\n  - {name: a, turns: [{user: a, press: b}]}":               "turn 1: one of user, press and open must be given",
		"cases:\n  - {name: a, turns: [{user: a}, {bot: [a]}]}":             "turn 2: one of user, press and open must be given",
		"cases:\n  - {name: a, turns: [{user: a, after: 1 day}]}":           "turn 1: after: must be a duration like 36h or 5m",
		"cases:\n  - {name: a, turns: [{user: a, after: -1h}]}":             "turn 1: after: must be a duration like 36h or 5m",
		"cases:\n  - {name: a, now: today, turns: [{user: a}]}":             "now: must be a time like 2026-01-05T09:00:00",
		"timeZone: Nowhere/None\ncases:\n  - {name: a, turns: [{user: a}]}": "timeZone: unknown time zone Nowhere/None",
	} {
		_, err := rehearsal.Run(t.Context(), define(t, everything), []byte(text))
		require.ErrorContains(t, err, want, "%q", text)
	}
}

func TestTheContextEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := rehearsal.Run(ctx, define(t, everything), []byte("cases:\n  - {name: a, turns: [{user: a}]}"))
	require.ErrorIs(t, err, context.Canceled)
}

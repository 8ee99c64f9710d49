package definition_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
)

// in puts a node into a definition: its lines begin at line 4, its first column is 6.
func in(node string) string {
	return "displayName: A\nstart: n\nnodes:\n  n: {" + node + "}\n"
}

func TestFaults(t *testing.T) {
	const nodeFields = "call, set, say, event, ask, branch, goto, handoff, end, arguments, description"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		// What the schema says.
		{"no name", "start: n\nnodes: {n: {}}", []string{"1:1: displayName: must be at least 1 characters"}},
		{"name too long", "displayName: " + strings.Repeat("é", 257), []string{"1:14: displayName: must be at most 256 characters"}},
		{"locale", "displayName: A\nlocale: português", []string{"2:9: locale: does not match regex pattern `^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$`"}},
		{"threshold", "displayName: A\nthreshold: 1.5", []string{"2:12: threshold: must be greater than or equal to 0 and less than or equal to 1"}},
		{"node name", "displayName: A\nstart: 1a\nnodes: {1a: {}}", []string{"3:9: nodes[\"1a\"]: a node's name is 1 to 64 letters, digits and _, and does not begin with a digit"}},
		{"set name", in("set: {foo: a}"), []string{"4:13: nodes.n.set.foo: must be context. or contact. and 1 to 64 letters, digits and _"}},
		{"set deep name", in("set: {context.a.b: a}"), []string{`4:13: nodes.n.set["context.a.b"]: must be context. or contact. and 1 to 64 letters, digits and _`}},
		{"empty say", in("say: [{}]"), []string{"4:13: nodes.n.say[0]: one of text, date, buttons, list, media must be given"}},
		{"empty text", in("say: [{text: ''}]"), []string{"4:20: nodes.n.say[0].text: must be at least 1 characters"}},
		{"two contents", in("say: [{text: a, date: b}]"), []string{"4:29: nodes.n.say[0].date: field text is already set for oneof content"}},
		{"no options", in("say: [{buttons: {text: a}}]"), []string{"4:23: nodes.n.say[0].buttons.options: must contain at least 1 item(s)"}},
		{"no items", in("say: [{list: {text: a}}]"), []string{"4:20: nodes.n.say[0].list: exactly one of items and sections must be given"}},
		{"items and sections", in("say: [{list: {text: a, items: [{label: a}], sections: [{label: s, items: [{label: a}]}]}}]"),
			[]string{"4:20: nodes.n.say[0].list: exactly one of items and sections must be given"}},
		{"label too long", in("say: [{buttons: {text: a, options: [{label: " + strings.Repeat("a", 257) + "}]}}]"),
			[]string{"4:51: nodes.n.say[0].buttons.options[0].label: must be at most 256 characters"}},
		{"media type", in("say: [{media: {type: gif, link: 'https://a.b'}}]"), []string{
			`4:28: nodes.n.say[0].media.type: must be in list [image, video, audio, document, sticker]`}},
		{"tries", in("ask: {text: a, save: context.a, tries: 11}"), []string{
			"4:46: nodes.n.ask.tries: must be greater than or equal to 1 and less than or equal to 10"}},
		{"save", in("ask: {text: a, save: a}"), []string{"4:28: nodes.n.ask.save: must be context. or contact. and 1 to 64 letters, digits and _"}},
		{"no save", in("ask: {text: a}"), []string{"4:12: nodes.n.ask.save: must be context. or contact. and 1 to 64 letters, digits and _"}},
		{"no prompt", in("ask: {save: context.a}"), []string{"4:12: nodes.n.ask: one of text, date must be given"}},
		{"no event name", in("event: {details: {a: b}}"), []string{"4:14: nodes.n.event.name: must be at least 1 characters"}},
		{"branch without goto", in("branch: [{when: 'true'}]"), []string{"4:16: nodes.n.branch[0].goto: must be at least 1 characters"}},

		// What the decoder says.
		{"type", "displayName: [A]", []string{"1:14: displayName: expected scalar, got sequence"}},
		{"text for a list", in("say: olá"), []string{"4:12: nodes.n.say: expected sequence, got scalar"}},
		{"list for an object", in("ask: [a]"), []string{"4:12: nodes.n.ask: expected mapping, got sequence"}},
		{"number", in("ask: {text: a, save: context.a, tries: muitas}"), []string{"4:46: nodes.n.ask.tries: invalid integer: invalid number, expected digit"}},
		{"truth", in("end: sim"), []string{`4:12: nodes.n.end: expected bool, got "sim"`}},
		{"null in a list", in("say: [~]"), []string{
			"4:13: nodes.n.say[0]: is null", "4:13: nodes.n.say[0]: one of text, date, buttons, list, media must be given"}[:1]},
		{"unknown field", "displayName: A\nfoo: 1", []string{"2:1: foo: unknown field; there are displayName, description, locale, " +
			"start, fallback, intents, answers, knowledge, nodes, model, threshold, runStaleOptions, remote"}},
		{"unknown field of a node", in("fala: [{text: a}]"), []string{"4:7: nodes.n.fala: unknown field; there are " + nodeFields}},
		{"number for a field", in("9: true"), []string{`4:7: nodes.n["9"]: unknown field; there are ` + nodeFields}},
		{"merge", in("<<: {end: true}"), []string{`4:7: nodes.n["<<"]: unknown field; there are ` + nodeFields}},
		{"field twice", "displayName: A\ndisplayName: B", []string{"2:1: displayName: given twice"}},
		{"field twice by two names", "displayName: A\ndisplay_name: B", []string{"2:1: displayName: given twice"}},
		{"node twice", "displayName: A\nstart: a\nnodes:\n  a: {}\n  a: {}", []string{"5:3: nodes.a: given twice"}},

		// Where nodes lead.
		{"start", "displayName: A\nstart: gone", []string{`2:8: start: there is no node "gone"`}},
		{"fallback", "displayName: A\nfallback: gone", []string{`2:11: fallback: there is no node "gone"`}},
		{"targets", in("say: [{buttons: {text: a, options: [{label: a, goto: x1}]}}, {list: {text: a, items: [{label: a, goto: x2}]}}, " +
			"{list: {text: a, sections: [{label: a, items: [{label: a, goto: x3}]}]}}], ask: {text: a, save: context.a, giveUp: x4}, branch: [{goto: x5}]"),
			[]string{
				`4:60: nodes.n.say[0].buttons.options[0].goto: there is no node "x1"`,
				`4:110: nodes.n.say[1].list.items[0].goto: there is no node "x2"`,
				`4:182: nodes.n.say[2].list.sections[0].items[0].goto: there is no node "x3"`,
				`4:233: nodes.n.ask.giveUp: there is no node "x4"`,
				`4:254: nodes.n.branch[0].goto: there is no node "x5"`,
			}},
		{"goto", in("goto: gone"), []string{`4:13: nodes.n.goto: there is no node "gone"`}},
		{"no way in", "displayName: A\nnodes:\n  a: {}\n  b: {}", []string{"2:1: nodes: no node can be reached: neither start nor fallback is set, and there are no intents"}},
		{"unreachable", "displayName: A\nstart: a\nnodes:\n  a: {goto: b}\n  b: {}\n  c:\n    goto: d\n  d: {}",
			[]string{"6:3: nodes.c: the node cannot be reached", "8:3: nodes.d: the node cannot be reached"}},
		{"ways out", in("goto: n, end: true, branch: [{goto: n}], ask: {text: a, save: context.a}"), []string{
			"4:6: nodes.n: more than one way out: branch, goto, end"}},

		// Loops.
		{"loop of one", in("goto: n"), []string{"4:13: nodes.n.goto: a loop without a question: n → n"}},
		{"loop of three", "displayName: A\nstart: a\nnodes:\n  a: {goto: b}\n  b: {say: [{text: b}], branch: [{when: 'false', goto: d}, {goto: c}]}\n  c: {goto: a}\n  d: {}",
			[]string{"4:13: nodes.a.goto: a loop without a question: a → b → c → a"}},
		{"two loops", "displayName: A\nstart: a\nfallback: c\nnodes:\n  a: {goto: b}\n  b: {goto: a}\n  c: {branch: [{when: input.text == 'a', goto: c}]}",
			[]string{"5:13: nodes.a.goto: a loop without a question: a → b → a", "7:48: nodes.c.branch[0].goto: a loop without a question: c → c"}},
		{"a way into a loop", "displayName: A\nstart: a\nnodes:\n  a: {goto: b}\n  b: {goto: b}",
			[]string{"5:13: nodes.b.goto: a loop without a question: b → b"}},

		// Expressions.
		{"template", in(`say: [{text: "Olá {{ nome }}"}]`), []string{"4:20: nodes.n.say[0].text: at character 8: undeclared reference to 'nome'"}},
		{"two in one", in(`say: [{text: "{{ a }} {{ b }}"}]`), []string{
			"4:20: nodes.n.say[0].text: at character 12: undeclared reference to 'b'",
			"4:20: nodes.n.say[0].text: at character 4: undeclared reference to 'a'"}},
		{"unclosed", in(`say: [{text: "{{ a }"}]`), []string{"4:20: nodes.n.say[0].text: at character 1: {{ without its }}"}},
		{"everywhere", `displayName: A
start: n
nodes:
  n:
    set: {context.a: "{{ x1 }}"}
    say:
      - date: "{{ x2 }}"
      - buttons: {text: "{{ x3 }}", options: [{label: "{{ x4 }}", description: "{{ x5 }}"}]}
      - list: {text: "{{ x6 }}", title: "{{ x7 }}", items: [{label: "{{ x8 }}"}]}
      - list: {text: a, sections: [{label: "{{ x9 }}", items: [{label: "{{ x10 }}"}]}]}
      - media: {type: image, link: "{{ x11 }}", filename: "{{ x12 }}", text: "{{ x13 }}"}
    event: {name: e, details: {"a b": "{{ x14 }}"}}
    ask: {date: "{{ x15 }}", save: context.a, retry: [a, "{{ x16 }}"]}
    branch:
      - {when: "x17", goto: n}
      - {when: "'a'", goto: n}
`, []string{
			`5:22: nodes.n.set["context.a"]: at character 4: undeclared reference to 'x1'`,
			`7:15: nodes.n.say[0].date: at character 4: undeclared reference to 'x2'`,
			`8:25: nodes.n.say[1].buttons.text: at character 4: undeclared reference to 'x3'`,
			`8:55: nodes.n.say[1].buttons.options[0].label: at character 4: undeclared reference to 'x4'`,
			`8:80: nodes.n.say[1].buttons.options[0].description: at character 4: undeclared reference to 'x5'`,
			`9:22: nodes.n.say[2].list.text: at character 4: undeclared reference to 'x6'`,
			`9:41: nodes.n.say[2].list.title: at character 4: undeclared reference to 'x7'`,
			`9:69: nodes.n.say[2].list.items[0].label: at character 4: undeclared reference to 'x8'`,
			`10:44: nodes.n.say[3].list.sections[0].label: at character 4: undeclared reference to 'x9'`,
			`10:72: nodes.n.say[3].list.sections[0].items[0].label: at character 4: undeclared reference to 'x10'`,
			`11:36: nodes.n.say[4].media.link: at character 4: undeclared reference to 'x11'`,
			`11:59: nodes.n.say[4].media.filename: at character 4: undeclared reference to 'x12'`,
			`11:78: nodes.n.say[4].media.text: at character 4: undeclared reference to 'x13'`,
			`12:39: nodes.n.event.details["a b"]: at character 4: undeclared reference to 'x14'`,
			`13:17: nodes.n.ask.date: at character 4: undeclared reference to 'x15'`,
			`13:58: nodes.n.ask.retry[1]: at character 4: undeclared reference to 'x16'`,
			`15:16: nodes.n.branch[0].when: at character 1: undeclared reference to 'x17'`,
			`16:16: nodes.n.branch[1].when: at character 1: a condition must be true or false`,
		}},
		{"link", in("say: [{media: {type: image, link: /a.png}}]"), []string{
			"4:41: nodes.n.say[0].media.link: must be an absolute http or https URL without user information"}},

		// Answers.
		{"as", in("ask: {text: a, save: context.a, as: idade}"), []string{"4:43: nodes.n.ask.as: must be text, number, date, email, phone, cpf, cnpj or regex: …"}},
		{"regex", in("ask: {text: a, save: context.a, as: 'regex: ('}"), []string{
			"4:43: nodes.n.ask.as: compile regular expression: error parsing regexp: missing closing ): `(`"}},

		// What free text means.
		{"intents", "displayName: A\nintents:\n  - {name: a, examples: [x], goto: gone}\n  - {name: a, examples: [], goto: b}\n  - {name: A b, examples: [x], goto: b}\nnodes: {b: {}}", []string{
			`3:36: intents[0].goto: there is no node "gone"`,
			`4:12: intents[1].name: there is another intent "a"`,
			"4:25: intents[1].examples: must contain at least 1 item(s)",
			"5:12: intents[2].name: an intent's name is 1 to 64 letters, digits and _, and does not begin with a digit",
		}},
		{"answers", "displayName: A\nanswers:\n  - {questions: [a], text: '{{ b }}'}\n  - {questions: [], text: a}", []string{
			"3:28: answers[0].text: at character 4: undeclared reference to 'b'", "4:17: answers[1].questions: must contain at least 1 item(s)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, faultsOf(t, c.text))
		})
	}
}

func TestNoFaults(t *testing.T) {
	for name, text := range map[string]string{
		"no nodes":             "displayName: A",
		"a loop with question": "displayName: A\nstart: a\nnodes: {a: {ask: {text: a, save: context.a}, goto: b}, b: {goto: a}}",
		"a loop with a menu":   "displayName: A\nstart: a\nnodes: {a: {say: [{buttons: {text: a, options: [{label: a}]}}], goto: b}, b: {goto: a}}",
		"every kind of answer": "displayName: A\nstart: a\nnodes: {a: {ask: {text: a, save: contact.a, as: email}, goto: b}, b: {ask: {date: a, save: context.b, as: text}, goto: c}, " +
			"c: {ask: {text: a, save: context.a, as: number}, goto: d}, d: {ask: {text: a, save: context.a, as: 'regex: [a-z]{2,3}'}}}",
		"names at their limit": "displayName: " + strings.Repeat("é", 256) + "\nstart: " + strings.Repeat("a", 64) + "\nnodes: {" + strings.Repeat("a", 64) + ": {}}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := definition.ParseYAML([]byte(text))
			require.NoError(t, err)
		})
	}
}

func TestCheckHasNoPlaces(t *testing.T) {
	faults := definition.Check(&agentv1.AgentDefinition{Start: "a", Nodes: map[string]*agentv1.Node{"b": nil}})
	require.Equal(t, definition.Faults{
		{Field: "displayName", Reason: "must be at least 1 characters"},
		{Field: "nodes.b", Reason: "the node cannot be reached"},
		{Field: "start", Reason: `there is no node "a"`},
	}, faults)
	require.NotEmpty(t, definition.Check(nil))
}

func TestANodeThatCouldNotBeReadHidesNone(t *testing.T) {
	// b is reached only by what could not be read; to call it unreachable would mislead.
	require.Equal(t, []string{"4:13: nodes.a.goto: expected scalar, got sequence"},
		faultsOf(t, "displayName: A\nstart: a\nnodes:\n  a: {goto: [b]}\n  b: {}\n"))
}

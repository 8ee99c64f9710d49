package definition_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/definition"
)

const modelled = `displayName: A
intents: [{name: order, examples: [a], goto: ask}]
answers: [{name: hours, questions: [a], text: b}, {questions: [c], text: d}]
nodes:
  ask: {say: [{text: a}]}
  stock:
    description: Consulta o estoque
    arguments: {item: {description: O item}, cpf: {as: cpf}}
    call: {url: "https://erp.example.com/stock"}
`

func TestModel(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"all is well": {"model: {baseUrl: \"https://a.example:8443/v1\", name: m, tools: [order, hours, stock], timeout: 300s, tokenTimeout: 60s, firstTokenTimeout: 120s}", nil},
		"a local one": {"model: {baseUrl: \"http://127.0.0.1:11434/v1\", name: m, tools: [stock]}", nil},
		"no URL": {
			"model: {baseUrl: \"127.0.0.1:11434\", name: m, tools: [stock]}",
			[]string{"10:18: model.baseUrl: must be an absolute http or https URL without user information, query and fragment"},
		},
		"a URL with a key": {
			"model: {baseUrl: \"https://a.example/v1?key=1\", name: m, tools: [stock]}",
			[]string{"10:18: model.baseUrl: must be an absolute http or https URL without user information, query and fragment"},
		},
		"a URL with a user": {
			"model: {baseUrl: \"https://a@a.example/v1\", name: m, tools: [stock]}",
			[]string{"10:18: model.baseUrl: must be an absolute http or https URL without user information, query and fragment"},
		},
		"a URL with a fragment": {
			"model: {baseUrl: \"https://a.example/v1#a\", name: m, tools: [stock]}",
			[]string{"10:18: model.baseUrl: must be an absolute http or https URL without user information, query and fragment"},
		},
		"another scheme": {
			"model: {baseUrl: \"ftp://a.example/v1\", name: m, tools: [stock]}",
			[]string{"10:18: model.baseUrl: must be an absolute http or https URL without user information, query and fragment"},
		},
		"unknown tools": {
			"model:\n  baseUrl: https://a.example\n  name: m\n  tools:\n  - stock\n  - gone\n  - ask\n  - \"\"",
			[]string{
				`15:5: model.tools[1]: there is no intent, answer or node with a call named "gone"`,
				`16:5: model.tools[2]: there is no intent, answer or node with a call named "ask"`,
				"17:5: model.tools[3]: a tool's name is 1 to 64 letters, digits and _, and does not begin with a digit",
			},
		},
		"a tool twice": {
			"model: {baseUrl: https://a.example, name: m, tools: [stock, stock]}",
			[]string{"10:53: model.tools: repeated value must contain unique items"},
		},
		"a bad template": {
			"model: {baseUrl: https://a.example, name: m, instructions: \"{{ a\", tools: [stock]}",
			[]string{`10:60: model.instructions: at character 1: {{ without its }}`},
		},
		"times": {
			"model: {baseUrl: https://a.example, name: m, tools: [stock], timeout: 301s, tokenTimeout: 61s, firstTokenTimeout: 0s}",
			[]string{
				"10:71: model.timeout: must be greater than 0s and less than or equal to 300s",
				"10:91: model.tokenTimeout: must be greater than 0s and less than or equal to 60s",
				"10:115: model.firstTokenTimeout: must be greater than 0s and less than or equal to 120s",
			},
		},
		"a node that only a model knows": {"start: ask", []string{"6:3: nodes.stock: the node cannot be reached"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == nil {
				def, err := definition.ParseYAML([]byte(modelled + c.text))
				require.NoError(t, err)
				require.Empty(t, definition.Check(def))
				return
			}
			require.Equal(t, c.want, faultsOf(t, modelled+c.text))
		})
	}
	t.Run("one name for two things", func(t *testing.T) {
		require.Equal(t, []string{
			`4:56: model.tools[0]: "a" can mean more than one of an intent, an answer and a node with a call`,
		}, faultsOf(t, "displayName: A\n"+
			"answers: [{name: a, questions: [a], text: b}]\nnodes: {a: {call: {url: \"https://a.example/\"}}}\n"+
			"model: {baseUrl: \"https://a.example\", name: m, tools: [a]}"))
	})
	t.Run("two answers of one name", func(t *testing.T) {
		require.Equal(t, []string{`2:79: answers[1].name: there is another answer "a"`}, faultsOf(t, "displayName: A\n"+
			"answers: [{name: a, questions: [a], text: b}, {questions: [a], text: b, name: a}]"))
	})
	t.Run("a bad argument", func(t *testing.T) {
		faults := faultsOf(t, "displayName: A\nstart: a\nnodes: {a: {arguments: {b: {as: nothing}}}}")
		require.Len(t, faults, 1)
		require.Contains(t, faults[0], "3:33: nodes.a.arguments.b.as: ")
	})
}

func TestRemote(t *testing.T) {
	for target, want := range map[string]string{
		"engine.example:443":         "",
		"dns:///engine.example:8443": "",
		"127.0.0.1:50051":            "",
		"[::1]:50051":                "",
		"engine.example":             "must be host:port or dns:///host:port",
		"engine.example:":            "must be host:port or dns:///host:port",
		"engine.example:0":           "must be host:port or dns:///host:port",
		"engine.example:65536":       "must be host:port or dns:///host:port",
		":443":                       "must be host:port or dns:///host:port",
		"unix:/run/engine.sock":      "must be host:port or dns:///host:port",
		"unix:///run/engine.sock":    "must be host:port or dns:///host:port",
		"passthrough:///a:1":         "must be host:port or dns:///host:port",
		"dns://8.8.8.8/a.example:1":  "must be host:port or dns:///host:port",
		"https://a.example:443":      "must be host:port or dns:///host:port",
		"user@a.example:443":         "must be host:port or dns:///host:port",
	} {
		text := "displayName: A\nremote: {target: \"" + target + "\"}"
		if want == "" {
			_, err := definition.ParseYAML([]byte(text))
			require.NoError(t, err, target)
			continue
		}
		require.Equal(t, []string{"2:18: remote.target: " + want}, faultsOf(t, text), target)
	}
	require.Equal(t, []string{"2:9: remote.target: must be at least 1 characters"}, faultsOf(t, "displayName: A\nremote: {insecure: true}"))
}

package definition_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const smallest = `{displayName: Eco, fallback: eco, nodes: {eco: {say: [{text: "eco: {{ input.text }}"}]}}}`

// faultsOf gives the faults of a text, each in a line.
func faultsOf(t *testing.T, text string) []string {
	t.Helper()
	def, err := definition.ParseYAML([]byte(text))
	require.Nil(t, def)
	var faults definition.Faults
	require.ErrorAs(t, err, &faults)
	return strings.Split(faults.Error(), "\n")
}

func TestTheSmallestAgent(t *testing.T) {
	def, err := definition.ParseYAML([]byte(smallest))
	require.NoError(t, err)
	require.True(t, proto.Equal(&agentv1.AgentDefinition{
		DisplayName: "Eco", Fallback: "eco",
		Nodes: map[string]*agentv1.Node{"eco": {Say: []*agentv1.Say{{Content: &agentv1.Say_Text{Text: "eco: {{ input.text }}"}}}}},
	}, def))
	require.Empty(t, definition.Check(def))
}

func TestTheContractsExample(t *testing.T) {
	text, err := os.ReadFile("testdata/contract.yaml")
	require.NoError(t, err)
	def, err := definition.ParseYAML(text)
	require.NoError(t, err)
	_, err = flow.Compile(def)
	require.NoError(t, err)
}

func TestYAMLIsForgiving(t *testing.T) {
	def, err := definition.ParseYAML([]byte(`
display_name: Loja # the schema's own names are names too
start: a
description: null
locale:
threshold: 0.5
nodes:
  a:
    set: {context.number: 1.50, context.yes: true, context.none: ~}
    say:
      - text: |
          Linha 1
          {{ contact.name }}
    branch: ~
    ask: null
    goto: b
  b: {say: [{text: &hi "olá"}, {text: *hi}, {buttons: &menu {text: T, options: [{label: L, goto: c}]}}]}
  c: {say: [{buttons: *menu}]}
`))
	require.NoError(t, err)
	require.Equal(t, "Loja", def.GetDisplayName())
	require.Empty(t, def.GetLocale())
	require.Equal(t, map[string]string{"context.number": "1.50", "context.yes": "true"}, def.GetNodes()["a"].GetSet())
	require.Equal(t, "Linha 1\n{{ contact.name }}\n", def.GetNodes()["a"].GetSay()[0].GetText())
	require.Nil(t, def.GetNodes()["a"].GetAsk())
	require.Equal(t, "olá", def.GetNodes()["b"].GetSay()[1].GetText())
	require.Equal(t, "L", def.GetNodes()["c"].GetSay()[0].GetButtons().GetOptions()[0].GetLabel())
}

func TestANodeWithoutAnythingIsANode(t *testing.T) {
	def, err := definition.ParseYAML([]byte("displayName: A\nstart: a\nnodes:\n  a:\n"))
	require.NoError(t, err)
	require.Contains(t, def.GetNodes(), "a")
	_, err = flow.Compile(def)
	require.NoError(t, err)
}

func TestJSON(t *testing.T) {
	const words = "Olá \"você\" \\ / 😀 \u2028\u0085\u007f\ufeff\uffff a\tb\nc {{ 'x' }}"
	source := map[string]any{
		"displayName": words, "start": "a", "description": nil,
		"nodes": map[string]any{"a": map[string]any{"say": []any{map[string]any{"text": words}}, "end": true, "event": nil}},
	}
	plain, err := json.Marshal(source)
	require.NoError(t, err)
	indented, err := json.MarshalIndent(source, "", "\t")
	require.NoError(t, err)
	ascii := strings.NewReplacer("😀", `\ud83d\ude00`, "á", `\u00e1`, "/", `\/`).Replace(string(plain))
	for name, text := range map[string]string{
		"plain": string(plain), "indented with tabs": string(indented), "escaped": ascii, "marked": "\ufeff" + string(plain) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			def, err := definition.ParseYAML([]byte(text))
			require.NoError(t, err)
			require.Equal(t, words, def.GetDisplayName())
			require.Equal(t, words, def.GetNodes()["a"].GetSay()[0].GetText())
			require.True(t, def.GetNodes()["a"].GetEnd())
		})
	}
	def, err := definition.ParseYAML([]byte(`{"displayName": "\ud83d \\ud83d\\ude00 \ude00\ud83d"}`))
	require.NoError(t, err)
	require.Equal(t, "\uFFFD \\ud83d\\ude00 \uFFFD\uFFFD", def.GetDisplayName())
	require.Equal(t, []string{`2:3: displayNam: unknown field; there are displayName, description, locale, start, fallback, intents, ` +
		`answers, knowledge, nodes, model, threshold, runStaleOptions, remote`}, faultsOf(t, "{\"displayName\": \"A\",\n  \"displayNam\": \"B\"}"))
}

func TestFromValue(t *testing.T) {
	def, err := definition.FromValue(structpb.NewStringValue(smallest))
	require.NoError(t, err)
	require.Equal(t, "Eco", def.GetDisplayName())

	object, err := structpb.NewValue(map[string]any{
		"displayName": "Eco 😀\u2028", "fallback": "eco", "description": nil, "threshold": 0.25,
		"nodes": map[string]any{"eco": map[string]any{"ask": map[string]any{"text": "?", "save": "context.a", "tries": 2}}},
	})
	require.NoError(t, err)
	def, err = definition.FromValue(object)
	require.NoError(t, err)
	require.Equal(t, "Eco 😀\u2028", def.GetDisplayName())
	require.EqualValues(t, 2, def.GetNodes()["eco"].GetAsk().GetTries())
	require.InDelta(t, 0.25, def.GetThreshold(), 0)

	object, err = structpb.NewValue(map[string]any{"displayName": "", "start": "a", "x": 1})
	require.NoError(t, err)
	_, err = definition.FromValue(object)
	var faults definition.Faults
	require.ErrorAs(t, err, &faults)
	require.Len(t, faults, 3)
	require.Equal(t, definition.Fault{Field: "displayName", Reason: "must be at least 1 characters"}, faults[0])
	require.Equal(t, definition.Fault{Field: "start", Reason: `there is no node "a"`}, faults[1])
	require.Equal(t, "x", faults[2].Field)

	_, err = definition.FromValue(structpb.NewStringValue("displayName: ''"))
	require.EqualError(t, err, "1:14: displayName: must be at least 1 characters")
	for _, other := range []*structpb.Value{nil, {}, structpb.NewNullValue(), structpb.NewNumberValue(1), structpb.NewListValue(&structpb.ListValue{})} {
		_, err = definition.FromValue(other)
		require.EqualError(t, err, "a definition is a text of YAML or JSON, or an object")
	}
	infinite := &structpb.Struct{Fields: map[string]*structpb.Value{"threshold": structpb.NewNumberValue(inf())}}
	_, err = definition.FromValue(structpb.NewStructValue(infinite))
	require.EqualError(t, err, "the definition has a number that JSON cannot write")
}

func inf() float64 { zero := 0.0; return 1 / zero }

func TestDocumentFaults(t *testing.T) {
	atLimit := smallest + "\n#" + strings.Repeat("x", definition.MaxSource-len(smallest)-2)
	_, err := definition.ParseYAML([]byte(atLimit))
	require.NoError(t, err)
	for name, c := range map[string]struct{ text, want string }{
		"too long":      {atLimit + "x", "1:1: the definition is longer than 262144 bytes"},
		"empty":         {"", "1:1: the definition is empty"},
		"spaces":        {" \n\n", "1:1: the definition is empty"},
		"a comment":     {"# nothing\n", "1:1: the definition is empty"},
		"null":          {"null", "1:1: the definition is empty"},
		"a list":        {"\n- a\n", "2:1: the definition must be an object"},
		"a text":        {"hello", "1:1: the definition must be an object"},
		"two documents": {"displayName: A\n---\ndisplayName: B\n", "2:1: there is a second document; a definition is one"},
		"bad second":    {"displayName: A\n---\n{\n", "3:1: did not find expected node content"},
		"syntax":        {"displayName: A\nnodes:\n  a: b: c\n", "3:1: mapping values are not allowed in this context"},
		"unknown alias": {"displayName: *x\n", "1:1: unknown anchor 'x' referenced"},
		"no UTF-8":      {"displayName: \xff\xfe\n", "1:1: invalid leading UTF-8 octet"},
		"a tab":         {"displayName: A\nnodes:\n\ta: {}\n", "3:1: found character that cannot start any token"},
		"unclosed":      {"{displayName: A", "1:1: did not find expected ',' or '}'"},
		"too deep":      {strings.Repeat("[", 20_000), "exceeded max depth of 10000"},
		"control":       {"displayName: \"\x07\"", "1:1: control characters are not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := faultsOf(t, c.text)
			require.Len(t, faults, 1)
			require.Contains(t, faults[0], c.want)
		})
	}
}

func TestAliasBombsAreRefused(t *testing.T) {
	bomb := "displayName: A\nstart: a\nnodes:\n  a:\n    say:\n    - buttons: {text: a, options: &a [" + strings.Repeat("{label: a},", 1000) + "]}\n" +
		strings.Repeat("    - buttons: {text: a, options: *a}\n", 100)
	require.Equal(t, []string{"1:1: the definition has more than 100000 values"}, faultsOf(t, bomb))
	// Aliases of aliases of things that are no fields are never followed.
	lol := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		p := string(c - 1)
		lol += string(c) + ": &" + string(c) + " [*" + p + strings.Repeat(",*"+p, 8) + "]\n"
	}
	require.Len(t, faultsOf(t, lol+"displayName: *i\n"), 10)
	// A thing that contains itself.
	require.NotEmpty(t, faultsOf(t, "displayName: A\nstart: a\nnodes: &n {a: *n}\n"))
	require.NotEmpty(t, faultsOf(t, "displayName: A\nstart: a\nnodes: {a: &a {say: [{list: {text: a, sections: &s [*s]}}]}}\n"))
}

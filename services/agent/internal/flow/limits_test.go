package flow_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

func newID() string { return "64a1b2c3d4e5f6a7b8c9d0e1" }

func run(t testing.TB, program *flow.Program, turn flow.Turn) *flow.Result {
	t.Helper()
	turn.Now, turn.Location, turn.NewID = now, saoPaulo, newID
	result, err := program.Run(t.Context(), turn, flow.Discard)
	require.NoError(t, err)
	return result
}

// chain is a definition of so many nodes, each of which says its number and goes to the next.
func chain(length int) string {
	var source strings.Builder
	source.WriteString("displayName: A\nfallback: n1\nnodes:\n")
	for i := 1; i <= length; i++ {
		fmt.Fprintf(&source, "  n%d: {say: [{text: '%d'}]", i, i)
		if i < length {
			fmt.Fprintf(&source, ", goto: n%d", i+1)
		}
		source.WriteString("}\n")
	}
	return source.String()
}

func TestFiftyNodesATurn(t *testing.T) {
	result := run(t, compile(t, chain(flow.MaxNodes)), flow.Turn{Opening: true, Text: "x"})
	require.Len(t, result.Messages, flow.MaxNodes)
	require.Empty(t, result.Stopped)

	result = run(t, compile(t, chain(flow.MaxNodes+1)), flow.Turn{Opening: true, Text: "x"})
	require.Equal(t, "more than 50 nodes in one turn", result.Stopped)
	require.Len(t, result.Messages, flow.MaxNodes+1)
	require.Equal(t, flow.NotUnderstood, result.Messages[flow.MaxNodes].GetText().GetText())
	require.Equal(t, "n50", result.Node)
}

func TestALoopThatCheckCannotSeeEnds(t *testing.T) {
	result := run(t, compile(t, `
displayName: A
fallback: f
nodes: {f: {say: [{buttons: {text: T, options: [{label: "{{ contact.missing }}"}]}}], goto: f}}`), flow.Turn{Text: "x"})
	require.Equal(t, "more than 50 nodes in one turn", result.Stopped)
	require.Len(t, result.Messages, 1)
}

func TestMessagesOfAnAnswer(t *testing.T) {
	say := func(count int) string { return "say: [" + strings.Repeat("{text: a}, ", count) + "]" }
	source := func(last int) string {
		return "displayName: A\nfallback: a\nnodes:\n  a: {" + say(50) + ", goto: b}\n  b: {" + say(50) + ", goto: c}\n  c: {" +
			say(50) + ", goto: d}\n  d: {" + say(last) + ", goto: e}\n  e: {end: true}\n"
	}
	result := run(t, compile(t, source(50)), flow.Turn{Text: "x"})
	require.Len(t, result.Messages, flow.MaxMessages)
	require.Empty(t, result.Stopped)
	require.True(t, result.Finished)

	result = run(t, compile(t, strings.Replace(source(50), "e: {end", "e: {say: [{text: b}, {text: c}], end", 1)), flow.Turn{Text: "x"})
	require.Equal(t, "more messages than an answer may have", result.Stopped)
	require.Len(t, result.Messages, flow.MaxMessages+2)
	require.Equal(t, flow.NotUnderstood, result.Messages[flow.MaxMessages+1].GetText().GetText())
	require.False(t, result.Finished)
}

func TestSizeOfAnAnswer(t *testing.T) {
	program := compile(t, `
displayName: A
fallback: a
nodes:
  a: {say: [`+strings.Repeat("{text: '{{ input.text }}'}, ", 50)+`], goto: b}
  b: {say: [`+strings.Repeat("{text: '{{ input.text }}'}, ", 50)+`], event: {name: e, details: {a: "{{ input.text }}"}}}`)
	result := run(t, program, flow.Turn{Text: strings.Repeat("a", 10_000)})
	require.Empty(t, result.Stopped)
	require.Len(t, result.Messages, 100)

	result = run(t, program, flow.Turn{Text: strings.Repeat("ã", 10_000)})
	require.Equal(t, "the answer is too large", result.Stopped)
	require.Len(t, result.Messages, flow.MaxOutput/20_000+2)
}

func TestSizeOfEvents(t *testing.T) {
	details := make([]string, 60)
	for i := range details {
		details[i] = fmt.Sprintf("d%d: '{{ input.text }}'", i)
	}
	result := run(t, compile(t, "displayName: A\nfallback: a\nnodes: {a: {event: {name: e, details: {"+strings.Join(details, ", ")+"}}}}"),
		flow.Turn{Text: strings.Repeat("ã", 10_000)})
	require.Equal(t, "the answer is too large", result.Stopped)
}

func TestCostOfATurn(t *testing.T) {
	texts := strings.Repeat("input.text,", 200)
	dear := `{text: "{{ [` + texts + `].map(a, a + a + a) }}"}`
	program := compile(t, "displayName: A\nfallback: a\nnodes: {a: {say: ["+strings.Repeat(dear+", ", 20)+"], goto: b}, b: {say: [{text: b}]}}")
	result := run(t, program, flow.Turn{Text: strings.Repeat("a", 10_000)})
	require.Equal(t, "the expressions cost too much", result.Stopped)
	require.Equal(t, "a", result.Node)
}

func TestRenderedTextsAreCut(t *testing.T) {
	long := strings.Repeat("é", 10_000)
	program := compile(t, `
displayName: A
fallback: f
nodes:
  f:
    set: {context.long: "{{ input.text }}!"}
    say:
      - text: "{{ input.text }}"
      - text: "x{{ input.text }}"
      - date: "x{{ input.text }}"
      - buttons: {text: "x{{ input.text }}", options: [{label: "x{{ input.text }}"}]}
      - list: {text: "x{{ input.text }}", title: "x{{ input.text }}", sections: [{label: "x{{ input.text }}", items: [{label: "x{{ input.text }}", description: "x{{ input.text }}"}]}]}
      - media: {type: image, link: "https://example.com/{{ input.text }}"}
      - media: {type: image, link: "https://example.com/", filename: "x{{ input.text }}", text: "x{{ input.text }}"}
    event: {name: e, details: {d: "x{{ input.text }}"}}`)
	result := run(t, program, flow.Turn{Text: long})
	require.Empty(t, result.Stopped)
	require.Len(t, result.Messages, 6)
	for _, message := range result.Messages {
		require.NoError(t, protovalidate.Validate(message))
	}
	require.Equal(t, long, result.Messages[0].GetText().GetText())
	require.Equal(t, "x"+strings.Repeat("é", 9_999), result.Messages[1].GetText().GetText())
	require.Equal(t, "x"+strings.Repeat("é", 255), result.Messages[3].GetButtons().GetOptions()[0].GetLabel())
	require.Equal(t, "x"+strings.Repeat("é", 255), result.Messages[4].GetList().GetTitle())
	require.Equal(t, 1024, utf8.RuneCountInString(result.Messages[4].GetList().GetSections()[0].GetItems()[0].GetDescription()))
	require.Equal(t, 10_000, utf8.RuneCountInString(result.Events[0].Details["d"]))
	require.Equal(t, long, result.State.GetContext().GetFields()["long"].GetStringValue())
}

func TestValidLink(t *testing.T) {
	const prefix = "https://example.com/"
	for link, want := range map[string]bool{
		"https://example.com":                          true,
		"http://127.0.0.1:80/a":                        true,
		"HTTPS://example.com/":                         true,
		prefix + strings.Repeat("a", 2048-len(prefix)): true,
		prefix + strings.Repeat("a", 2049-len(prefix)): false,
		prefix + strings.Repeat("é", 2048-len(prefix)): true,
		"":                           false,
		"example.com/a":              false,
		"//example.com/a":            false,
		"/a":                         false,
		"ftp://example.com/a":        false,
		"file:///etc/passwd":         false,
		"javascript:alert(1)":        false,
		"https://":                   false,
		"https://:443/":              false,
		"https:example.com":          false,
		"https://ana@example.com/":   false,
		"https://ana:x@example.com/": false,
		"https://example.com/a b":    false,
		"https://example.com/a\n":    false,
		" https://example.com/":      false,
		"https://exa\x00mple.com/":   false,
		"https://example.com/%zz":    false,
	} {
		require.Equal(t, want, flow.ValidLink(link), "%.60q", link)
	}
}

func menuDefinition(menus, options int) string {
	var source strings.Builder
	source.WriteString("displayName: A\nfallback: n0\nnodes:\n")
	for i := range menus {
		fmt.Fprintf(&source, "  n%d: {say: [{buttons: {text: T, options: [", i)
		for j := range options {
			fmt.Fprintf(&source, "{label: o%d.%d, goto: n%d}, ", i, j, (i+1)%menus)
		}
		source.WriteString("]}}]}\n")
	}
	return source.String()
}

func TestTwentyMenusAreRemembered(t *testing.T) {
	program := compile(t, menuDefinition(25, 1))
	var state *agentv1.FlowState
	for i := range 25 {
		result := run(t, program, flow.Turn{State: state, Opening: i == 0, Text: "1"})
		state = result.State
		require.Len(t, state.GetMenus(), min(i+1, flow.MaxMenus))
		require.Equal(t, fmt.Sprintf("n%d", i), state.GetMenus()[len(state.GetMenus())-1].GetNode())
	}
	require.Equal(t, "n5", state.GetMenus()[0].GetNode())
	require.Less(t, proto.Size(state), 2000)
}

func TestOptionsRememberedAreBounded(t *testing.T) {
	program := compile(t, menuDefinition(10, 50))
	var state *agentv1.FlowState
	for i := range 6 {
		state = run(t, program, flow.Turn{State: state, Opening: i == 0, Text: "1"}).State
		require.Len(t, state.GetMenus(), min(i+1, 4))
	}
	// One menu larger than all is remembered alone, and whole.
	var sections strings.Builder
	for i := range 50 {
		fmt.Fprintf(&sections, "{label: S%d, items: [", i)
		for j := range 5 {
			fmt.Fprintf(&sections, "{label: o%d.%d},", i, j)
		}
		sections.WriteString("]},")
	}
	program = compile(t, "displayName: A\nfallback: f\nnodes: {f: {say: [{list: {text: T, sections: ["+sections.String()+"]}}]}}")
	for i := range 2 {
		state = run(t, program, flow.Turn{State: state, Opening: i == 0, Text: "x"}).State
		require.Len(t, state.GetMenus(), 1)
		require.Len(t, state.GetMenus()[0].GetOptions(), 250)
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	var set []string
	for i := range 20 {
		set = append(set, fmt.Sprintf("context.k%02d: '{{ input.text }}'", i), fmt.Sprintf("contact.k%02d: '{{ input.text }}'", i))
	}
	program := compile(t, "displayName: A\nfallback: f\nnodes: {f: {set: {"+strings.Join(set, ", ")+"}}}")
	size := func(state *agentv1.FlowState) int {
		bytes := 0
		for name, value := range state.GetContact() {
			bytes += len(name) + len(value)
		}
		for name, value := range state.GetContext().GetFields() {
			bytes += len(name) + len(value.GetStringValue())
		}
		return bytes
	}
	result := run(t, program, flow.Turn{Text: strings.Repeat("a", 10_000)})
	require.Equal(t, 26*10_003, size(result.State), "26 values fit in 256 KiB, 27 do not")
	// Values can still shrink, and others grow then.
	result = run(t, program, flow.Turn{State: result.State, Text: strings.Repeat("b", 5_000)})
	require.Equal(t, 40*5_003, size(result.State))
	result = run(t, program, flow.Turn{State: result.State, Text: " "})
	require.Equal(t, 40*4, size(result.State))
}

func TestAttributesOfATurnAreBounded(t *testing.T) {
	var source strings.Builder
	source.WriteString("displayName: A\nfallback: n0\nnodes:\n")
	for i := range 6 {
		fmt.Fprintf(&source, "  n%d: {set: {", i)
		for j := range 100 {
			fmt.Fprintf(&source, "contact.k%d_%d: a, ", i, j)
		}
		fmt.Fprintf(&source, "}%s}\n", map[bool]string{true: fmt.Sprintf(", goto: n%d", i+1)}[i < 5])
	}
	result := run(t, compile(t, source.String()), flow.Turn{Text: "x"})
	require.Len(t, result.Attributes, flow.MaxAttributes)
	require.Len(t, result.State.GetContact(), flow.MaxAttributes)
}

func TestRunNeedsIdentifiers(t *testing.T) {
	_, err := compile(t, "displayName: A").Run(t.Context(), flow.Turn{Now: now}, flow.Discard)
	require.EqualError(t, err, "run turn: no source of identifiers")
}

func TestRunGivesNothingWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result, err := compile(t, chain(2)).Run(ctx, flow.Turn{Now: now, NewID: newID}, flow.Discard)
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, result)
}

func TestAStateThatTheDefinitionDoesNotKnow(t *testing.T) {
	program := compile(t, "displayName: A\nfallback: f\nnodes: {f: {say: [{text: f}]}}")
	menu := func(node string, at int32) *agentv1.SentMenu {
		return &agentv1.SentMenu{Node: node, SayIndex: at, Options: []*agentv1.SentOption{{Label: "A", Value: "index0", Goto: "gone"}}}
	}
	for name, state := range map[string]*agentv1.FlowState{
		"question of no node":      {Ask: &agentv1.OpenAsk{Node: "gone"}},
		"question of another node": {Ask: &agentv1.OpenAsk{Node: "f", Tries: 1}},
		"menu of no node":          {Menus: []*agentv1.SentMenu{menu("gone", 0)}},
		"menu of another node":     {Menus: []*agentv1.SentMenu{menu("f", 0)}},
		"menu without options":     {Menus: []*agentv1.SentMenu{{Node: "f", SayIndex: -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, turn := range []flow.Turn{{Text: "A"}, {Text: "A", Postback: "index0"}, {Text: "1"}, {Text: "A", Postback: "index1"}} {
				turn.State = state
				result := run(t, program, turn)
				require.Len(t, result.Messages, 1)
				require.Equal(t, "f", result.Messages[0].GetText().GetText())
				require.Nil(t, result.State.GetAsk())
			}
		})
	}
	stale := &agentv1.FlowState{Menus: []*agentv1.SentMenu{menu("f", 0), {Node: "gone", SayIndex: 3}}}
	result := run(t, program, flow.Turn{State: stale, Text: "A", Postback: "index0"})
	require.Equal(t, "f", result.Messages[0].GetText().GetText())
}

func TestNestedContextIsReadAndKept(t *testing.T) {
	order, err := structpb.NewStruct(map[string]any{"order": map[string]any{"items": []any{"Caneta"}}})
	require.NoError(t, err)
	result := run(t, compile(t, `
displayName: A
fallback: f
nodes: {f: {set: {context.seen: "1"}, say: [{text: "{{ context.order.items[0] }} {{ context.order.missing.deep }}"}]}}`),
		flow.Turn{State: &agentv1.FlowState{Context: order}, Text: "x"})
	require.Equal(t, "Caneta ", result.Messages[0].GetText().GetText())
	require.Len(t, order.GetFields(), 1)
	require.Len(t, result.State.GetContext().GetFields(), 2)
}

func TestAttributesAreReadWhenOpeningOnly(t *testing.T) {
	program := compile(t, "displayName: A\nfallback: f\nnodes: {f: {say: [{text: 'oi {{ contact.name }}'}]}}")
	attributes := map[string]string{"name": "Ana"}
	opened := run(t, program, flow.Turn{Opening: true, Text: "x", Attributes: attributes})
	require.Equal(t, "oi Ana", opened.Messages[0].GetText().GetText())
	require.Equal(t, attributes, opened.State.GetContact())
	later := run(t, program, flow.Turn{Text: "x", Attributes: attributes})
	require.Equal(t, "oi ", later.Messages[0].GetText().GetText())
	require.Nil(t, opened.Attributes, "what was known is not what was set")
}

func TestAProgramRunsManyTurnsAtOnce(t *testing.T) {
	program := compile(t, `{displayName: Eco, fallback: eco, nodes: {eco: {set: {context.a: "{{ input.text }}"}, say: [{text: "{{ [1, 2].map(x, context.a) }}"}]}}}`)
	state := &agentv1.FlowState{Context: &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStringValue("0")}}}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 100 {
				result, err := program.Run(t.Context(), flow.Turn{State: state, Text: strconv.Itoa(i), Now: now, NewID: newID}, flow.Discard)
				if assert.NoError(t, err) {
					assert.Equal(t, fmt.Sprintf(`["%d","%d"]`, i, i), result.Messages[0].GetText().GetText())
				}
			}
		})
	}
	group.Wait()
}

func TestNoIndexWithoutAnythingToFind(t *testing.T) {
	require.Zero(t, compile(t, `{displayName: Eco, fallback: eco, nodes: {eco: {say: [{text: "eco"}]}}}`).Size())
	require.Positive(t, compile(t, `{displayName: Eco, answers: [{questions: [oi], text: olá}]}`).Size())
}

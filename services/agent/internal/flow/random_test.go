package flow_test

import (
	"fmt"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

var (
	someTexts = rapid.SampledFrom([]string{
		"a", "{{ input.text }}", "{{ contact.name }}", "{{ context.a + 'x' }}", "{{ 1 / 0 }}", "é{{ input.label }}", "{{ context.missing }}", "  ",
	})
	someNodes      = rapid.SampledFrom([]string{"n0", "n1", "n2", "n3", "n4"})
	someNodeOrNone = rapid.SampledFrom([]string{"", "n0", "n1", "n2", "n3", "n4"})
	someOptions    = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *agentv1.SayOption {
		return &agentv1.SayOption{Label: someTexts.Draw(t, "label"), Description: someTexts.Draw(t, "description"), Goto: someNodeOrNone.Draw(t, "goto")}
	}), 1, 4)
	someSays = rapid.Custom(func(t *rapid.T) *agentv1.Say {
		words := someTexts.Draw(t, "text")
		switch rapid.IntRange(0, 5).Draw(t, "content") {
		case 0:
			return &agentv1.Say{Content: &agentv1.Say_Date{Date: words}}
		case 1:
			return &agentv1.Say{Content: &agentv1.Say_Buttons{Buttons: &agentv1.SayButtons{Text: words, Options: someOptions.Draw(t, "options")}}}
		case 2:
			return list(&agentv1.SayList{Text: words, Items: someOptions.Draw(t, "items")})
		case 3:
			return list(&agentv1.SayList{Text: words, Sections: []*agentv1.SaySection{
				{Label: words, Items: someOptions.Draw(t, "first")}, {Label: "b", Items: someOptions.Draw(t, "second")},
			}})
		case 4:
			return media(&agentv1.SayMedia{Type: "image", Link: "https://example.com/" + words})
		default:
			return text(words)
		}
	})
	somePlaces = rapid.SampledFrom([]string{"context.a", "context.b", "contact.name", "contact.email"})
	someAsks   = rapid.Custom(func(t *rapid.T) *agentv1.Ask {
		return &agentv1.Ask{
			Prompt: &agentv1.Ask_Text{Text: someTexts.Draw(t, "prompt")}, Save: somePlaces.Draw(t, "save"),
			As:    rapid.SampledFrom([]string{"", "text", "number", "date", "email", "phone", "cpf", "cnpj", "regex: a.*"}).Draw(t, "as"),
			Tries: rapid.Int32Range(0, 3).Draw(t, "tries"), Retry: rapid.SliceOfN(someTexts, 0, 2).Draw(t, "retry"),
			GiveUp: someNodeOrNone.Draw(t, "giveUp"),
		}
	})
	someNode = rapid.Custom(func(t *rapid.T) *agentv1.Node {
		n := &agentv1.Node{
			Say: rapid.SliceOfN(someSays, 0, 3).Draw(t, "say"), Set: rapid.MapOfN(somePlaces, someTexts, 0, 2).Draw(t, "set"),
		}
		if rapid.Bool().Draw(t, "asks") {
			n.Ask = someAsks.Draw(t, "ask")
		}
		if rapid.Bool().Draw(t, "reports") {
			n.Event = &agentv1.EventAction{Name: "e", Details: map[string]string{"d": someTexts.Draw(t, "detail")}}
		}
		// More than one way out is a fault that Compile does not look for, so Run must bear it.
		if rapid.Bool().Draw(t, "branches") {
			n.Branch = []*agentv1.Branch{{
				When: rapid.SampledFrom([]string{"", "true", "input.label == 'a'", "context.a == 'x'"}).Draw(t, "when"),
				Goto: someNodes.Draw(t, "to"),
			}}
		}
		n.Goto = someNodeOrNone.Draw(t, "goto")
		n.End = rapid.IntRange(0, 9).Draw(t, "end") == 0
		if rapid.IntRange(0, 9).Draw(t, "handsOver") == 0 {
			n.Handoff = &agentv1.Handoff{Skill: "s"}
		}
		return n
	})
	someTurns = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [2]string {
		return [2]string{
			rapid.SampledFrom([]string{"", "a", "1", "opção 2", "hoje", "a@b.c", "x", "é1"}).Draw(t, "text"),
			rapid.SampledFrom([]string{"", "", "index0", "index1", "section0-index0", "section1-index1", "index99", "?"}).Draw(t, "postback"),
		}
	}), 1, 12)
)

// Whatever the definition and whatever is said: no panic, no error, at most 50 nodes, only messages that the contract allows, a bounded
// state, and the same again when it is run again.
func TestRandomDefinitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		def := &agentv1.AgentDefinition{
			Start: someNodeOrNone.Draw(t, "start"), Fallback: someNodeOrNone.Draw(t, "fallback"),
			RunStaleOptions: rapid.Bool().Draw(t, "stale"), Nodes: make(map[string]*agentv1.Node),
		}
		if rapid.Bool().Draw(t, "knows") {
			def.Intents = []*agentv1.Intent{{Name: "i", Examples: []string{"hoje", "opção"}, Goto: someNodes.Draw(t, "intent")}}
			def.Answers = []*agentv1.CuratedAnswer{{Questions: []string{"x", "1"}, Text: someTexts.Draw(t, "answer")}}
			def.Knowledge = []*agentv1.Passage{{Title: "é", Text: "a"}}
		}
		for i := range 5 {
			def.Nodes[fmt.Sprintf("n%d", i)] = someNode.Draw(t, "node")
		}
		program, err := flow.Compile(def)
		require.NoError(t, err)
		var state *agentv1.FlowState
		for i, said := range someTurns.Draw(t, "turns") {
			turn := flow.Turn{
				State: state, Opening: i == 0 || state == nil, Text: said[0], Postback: said[1], Now: now, Location: saoPaulo, NewID: newID,
			}
			given := proto.CloneOf(state)
			result, err := program.Run(t.Context(), turn, flow.Discard)
			require.NoError(t, err)
			require.True(t, proto.Equal(given, state), "the given state was changed")
			// Every node adds at most three messages and one question, and every turn one apology, or one thing that is known.
			require.LessOrEqual(t, len(result.Messages), 4*flow.MaxNodes+2)
			require.LessOrEqual(t, len(result.Events), flow.MaxNodes)
			for _, message := range result.Messages {
				require.NoError(t, protovalidate.Validate(message))
			}
			require.LessOrEqual(t, len(result.State.GetMenus()), flow.MaxMenus)
			again, err := program.Run(t.Context(), turn, flow.Discard)
			require.NoError(t, err)
			require.True(t, proto.Equal(result.State, again.State))
			require.Equal(t, len(result.Messages), len(again.Messages))
			state = result.State
			if given.GetHandoff() != nil {
				require.Empty(t, result.Messages, "people have the conversation")
				require.NotNil(t, result.State.GetHandoff())
			}
			if result.Finished {
				state = nil
			}
		}
	})
}

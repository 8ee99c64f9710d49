package flow_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

func text(s string) *agentv1.Say { return &agentv1.Say{Content: &agentv1.Say_Text{Text: s}} }

func media(m *agentv1.SayMedia) *agentv1.Say {
	return &agentv1.Say{Content: &agentv1.Say_Media{Media: m}}
}

func list(l *agentv1.SayList) *agentv1.Say { return &agentv1.Say{Content: &agentv1.Say_List{List: l}} }

func askText(a *agentv1.Ask) *agentv1.Ask {
	a.Prompt = &agentv1.Ask_Text{Text: "?"}
	return a
}

func TestCompileRefuses(t *testing.T) {
	items := func(option *agentv1.SayOption) *agentv1.Say {
		return list(&agentv1.SayList{Text: "t", Items: []*agentv1.SayOption{option}})
	}
	const bad = "{{ 1 + }}"
	for name, c := range map[string]struct {
		node *agentv1.Node
		want string
	}{
		"text":          {&agentv1.Node{Say: []*agentv1.Say{text(bad)}}, "compile node n: say 0: at character 8"},
		"no content":    {&agentv1.Node{Say: []*agentv1.Say{{}}}, "compile node n: say 0: no content"},
		"list text":     {&agentv1.Node{Say: []*agentv1.Say{list(&agentv1.SayList{Text: bad})}}, "say 0: at"},
		"list title":    {&agentv1.Node{Say: []*agentv1.Say{list(&agentv1.SayList{Title: bad})}}, "title: at"},
		"section":       {&agentv1.Node{Say: []*agentv1.Say{list(&agentv1.SayList{Sections: []*agentv1.SaySection{{Label: bad}}})}}, "section: at"},
		"label":         {&agentv1.Node{Say: []*agentv1.Say{items(&agentv1.SayOption{Label: bad})}}, "option 0: label: at"},
		"description":   {&agentv1.Node{Say: []*agentv1.Say{items(&agentv1.SayOption{Description: bad})}}, "option 0: description: at"},
		"option goto":   {&agentv1.Node{Say: []*agentv1.Say{items(&agentv1.SayOption{Goto: "gone"})}}, `option 0: no node "gone"`},
		"media type":    {&agentv1.Node{Say: []*agentv1.Say{media(&agentv1.SayMedia{Type: "gif"})}}, `no media type "gif"`},
		"media text":    {&agentv1.Node{Say: []*agentv1.Say{media(&agentv1.SayMedia{Type: "image", Text: bad})}}, "say 0: at"},
		"media link":    {&agentv1.Node{Say: []*agentv1.Say{media(&agentv1.SayMedia{Type: "image", Link: bad})}}, "link: at"},
		"media name":    {&agentv1.Node{Say: []*agentv1.Say{media(&agentv1.SayMedia{Type: "image", Filename: bad})}}, "filename: at"},
		"set name":      {&agentv1.Node{Set: map[string]string{"foo": "a"}}, `set "foo": the name must begin`},
		"set value":     {&agentv1.Node{Set: map[string]string{"context.a": bad}}, "set context.a: at"},
		"detail":        {&agentv1.Node{Event: &agentv1.EventAction{Details: map[string]string{"d": bad}}}, `event: detail "d": at`},
		"when":          {&agentv1.Node{Branch: []*agentv1.Branch{{When: "1", Goto: "n"}}}, "branch 0: when: at"},
		"branch goto":   {&agentv1.Node{Branch: []*agentv1.Branch{{Goto: "gone"}}}, `branch 0: no node "gone"`},
		"branch nogoto": {&agentv1.Node{Branch: []*agentv1.Branch{{}}}, "branch 0: no goto"},
		"goto":          {&agentv1.Node{Goto: "gone"}, `goto: no node "gone"`},
		"as":            {&agentv1.Node{Ask: askText(&agentv1.Ask{Save: "context.a", As: "regex: ("})}, "ask: as: compile"},
		"save":          {&agentv1.Node{Ask: askText(&agentv1.Ask{Save: "context."})}, "ask: save: the name must begin"},
		"prompt":        {&agentv1.Node{Ask: &agentv1.Ask{Save: "context.a", Prompt: &agentv1.Ask_Text{Text: bad}}}, "ask: at"},
		"retry":         {&agentv1.Node{Ask: askText(&agentv1.Ask{Save: "context.a", Retry: []string{bad}})}, "ask: retry 0: at"},
		"giveUp":        {&agentv1.Node{Ask: askText(&agentv1.Ask{Save: "context.a", GiveUp: "gone"})}, `ask: giveUp: no node "gone"`},
		"call":          {&agentv1.Node{Call: &agentv1.Call{Url: "{{ context.url }}"}}, "call: url: at character 1: must begin"},
		"call save":     {&agentv1.Node{Call: &agentv1.Call{Url: "https://a.example/", Save: "contact.a"}}, "call: save: the name must begin"},
		"onError":       {&agentv1.Node{Call: &agentv1.Call{Url: "https://a.example/", OnError: "gone"}}, `call: onError: no node "gone"`},
	} {
		t.Run(name, func(t *testing.T) {
			program, err := flow.Compile(&agentv1.AgentDefinition{Fallback: "n", Nodes: map[string]*agentv1.Node{"n": c.node}})
			require.ErrorContains(t, err, c.want)
			require.Nil(t, program)
		})
	}
	_, err := flow.Compile(&agentv1.AgentDefinition{Start: "gone"})
	require.EqualError(t, err, `compile start: no node "gone"`)
	_, err = flow.Compile(&agentv1.AgentDefinition{Fallback: "gone"})
	require.EqualError(t, err, `compile fallback: no node "gone"`)
	_, err = flow.Compile(&agentv1.AgentDefinition{Intents: []*agentv1.Intent{{Name: "i", Goto: "gone"}}})
	require.EqualError(t, err, `compile intent i: no node "gone"`)
	_, err = flow.Compile(&agentv1.AgentDefinition{Intents: []*agentv1.Intent{{Name: "i"}}})
	require.EqualError(t, err, `compile intent i: no goto`)
	_, err = flow.Compile(&agentv1.AgentDefinition{Answers: []*agentv1.CuratedAnswer{{Questions: []string{"a"}, Text: "{{"}}})
	require.ErrorContains(t, err, "compile answer 0: at character 1")
}

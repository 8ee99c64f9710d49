package flow_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	saoPaulo = time.FixedZone("America/Sao_Paulo", -3*3600)
	// Wednesday 14 January 2026 in São Paulo, already Thursday in UTC.
	now = time.Date(2026, 1, 15, 1, 30, 0, 123_456_789, time.UTC)
)

// conversation is a case of testdata: a definition, and what is said.
type conversation struct {
	Name       string            `yaml:"name"`
	Definition yaml.Node         `yaml:"definition"`
	Attributes map[string]string `yaml:"attributes"` // of the person, when the conversation opens
	Turns      []exchange        `yaml:"turns"`
	// Calls are the answers of the other systems, by node: what comes of the first call, of the second, and so on.
	Calls map[string][]answered `yaml:"calls"`
}

// exchange is one turn and what it must give. What is not written must be empty, but for `context` and `contact`, which are only
// compared when they are written.
type exchange struct {
	Text     string `yaml:"text"`
	Postback string `yaml:"postback"`
	NoInput  bool   `yaml:"noInput"`

	Answer     []string            `yaml:"answer"` // as show writes it
	Events     []map[string]string `yaml:"events"` // the name as "name"
	Attributes map[string]string   `yaml:"attributes"`
	Node       string              `yaml:"node"`
	Label      string              `yaml:"label"`
	Finished   bool                `yaml:"finished"`
	Stopped    string              `yaml:"stopped"`
	Context    map[string]string   `yaml:"context"`
	Contact    map[string]string   `yaml:"contact"`
	Menus      int                 `yaml:"menus"` // how many are remembered; 0 is not compared
	Asks       string              `yaml:"asks"`  // the node whose question is open, with its bad answers: "ask_date 1"
	Intent     string              `yaml:"intent"`
	Matched    bool                `yaml:"matched"` // an intent, an answer or a passage was found
	HandedOver bool                `yaml:"handedOver"`
	Handoff    string              `yaml:"handoff"` // the open handoff: "node squad skill"
	Called     []string            `yaml:"called"`  // as showCalled writes it
}

func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		decoder.KnownFields(true)
		var cases []conversation
		require.NoError(t, decoder.Decode(&cases), file)
		for _, c := range cases {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml")+"/"+c.Name, func(t *testing.T) { c.run(t) })
		}
	}
}

func (c conversation) run(t *testing.T) {
	definition := &c.Definition
	if definition.Kind == yaml.AliasNode {
		definition = definition.Alias
	}
	source, err := yaml.Marshal(definition)
	require.NoError(t, err)
	program := compile(t, string(source))
	var state *agentv1.FlowState
	answers := &answering{answers: c.Calls}
	ids := 0
	newID := func() string { ids++; return fmt.Sprintf("%024x", ids) }
	for i, want := range c.Turns {
		before := proto.CloneOf(state)
		sink := &told{}
		got, err := program.Run(t.Context(), flow.Turn{
			State: state, Opening: i == 0, Text: want.Text, Postback: want.Postback, NoInput: want.NoInput, Now: now, Location: saoPaulo,
			InstanceSlug: "acme", InstanceName: "Acme", AgentID: "64a1b2c3d4e5f6a7b8c9d0e1", AgentName: "Loja",
			Attributes: c.Attributes, NewID: newID, ID: fmt.Sprintf("m%d", i+1), Caller: answers,
		}, sink)
		require.NoError(t, err)
		require.Equal(t, sink.messages, got.Messages, "turn %d: what the sink got", i)
		require.True(t, proto.Equal(before, state), "turn %d: the given state was changed", i)
		want.compare(t, fmt.Sprintf("turn %d, %q", i, want.Text+want.Postback), got)
		// What the store would do with it.
		stored, err := proto.Marshal(got.State)
		require.NoError(t, err)
		state = &agentv1.FlowState{}
		require.NoError(t, proto.Unmarshal(stored, state))
	}
}

func (want exchange) compare(t *testing.T, turn string, got *flow.Result) {
	t.Helper()
	var shown []string
	for _, message := range got.Messages {
		require.NoError(t, protovalidate.Validate(message), turn)
		require.Equal(t, messagev1.Origin_ORIGIN_BOT, message.GetOrigin())
		require.Equal(t, now.Truncate(time.Millisecond), message.GetCreateTime().AsTime())
		shown = append(shown, show(message))
	}
	require.Equal(t, want.Answer, shown, turn)
	var events []map[string]string
	for _, event := range got.Events {
		all := map[string]string{"name": event.Name}
		maps.Copy(all, event.Details)
		events = append(events, all)
	}
	require.Equal(t, want.Events, events, turn)
	require.Equal(t, want.Attributes, got.Attributes, turn)
	require.Equal(t, want.Node, got.Node, turn)
	require.Equal(t, want.Label, got.InputLabel, turn)
	require.Equal(t, want.Finished, got.Finished, turn)
	require.Equal(t, want.Stopped, got.Stopped, turn)
	asks := ""
	if ask := got.State.GetAsk(); ask != nil {
		asks = fmt.Sprintf("%s %d", ask.GetNode(), ask.GetTries())
	}
	require.Equal(t, want.Asks, asks, turn)
	require.Equal(t, want.Intent, got.Intent, turn)
	var called []string
	for i := range got.Calls {
		called = append(called, showCalled(&got.Calls[i]))
	}
	require.Equal(t, want.Called, called, turn)
	require.Equal(t, want.Matched, got.Confidence > 0, turn)
	require.Equal(t, want.HandedOver, got.HandedOver, turn)
	handoff := ""
	if open := got.State.GetHandoff(); open != nil {
		handoff = strings.TrimSpace(open.GetNode() + " " + open.GetSquad() + " " + open.GetSkill())
	}
	require.Equal(t, want.Handoff, handoff, turn)
	if want.Context != nil {
		kept := make(map[string]string)
		for name, value := range got.State.GetContext().GetFields() {
			kept[name] = value.GetStringValue()
		}
		require.Equal(t, want.Context, kept, turn)
	}
	if want.Contact != nil {
		require.Equal(t, want.Contact, got.State.GetContact(), turn)
	}
	if want.Menus != 0 {
		require.Len(t, got.State.GetMenus(), want.Menus, turn)
	}
	if got.Finished {
		require.Zero(t, proto.Size(got.State), turn)
	}
}

// show writes a message in one line.
func show(m *messagev1.Message) string {
	options := func(of []*messagev1.Option) string {
		texts := make([]string, len(of))
		for i, option := range of {
			texts[i] = option.GetValue() + "=" + option.GetLabel()
			if option.GetDescription() != "" {
				texts[i] += " (" + option.GetDescription() + ")"
			}
		}
		return strings.Join(texts, ", ")
	}
	number := strings.TrimLeft(m.GetMsgid(), "0")
	switch content := m.GetContent().(type) {
	case *messagev1.Message_Text:
		return content.Text.GetText()
	case *messagev1.Message_Date:
		return "[date] " + content.Date.GetText()
	case *messagev1.Message_Buttons:
		return "[buttons " + number + "] " + content.Buttons.GetText() + " | " + options(content.Buttons.GetOptions())
	case *messagev1.Message_List:
		text := "[list " + number + " " + content.List.GetTitle() + "] " + content.List.GetText()
		for _, section := range content.List.GetSections() {
			text += " |"
			if section.Label != nil {
				text += " # " + section.GetLabel() + ":"
			}
			text += " " + options(section.GetItems())
		}
		return text
	case *messagev1.Message_Media:
		kind := strings.ToLower(strings.TrimPrefix(content.Media.GetKind().String(), "KIND_"))
		return strings.Join(slices.DeleteFunc([]string{
			"[" + kind + "]", content.Media.GetLink(), content.Media.GetFilename(), content.Media.GetText(),
		}, func(s string) bool { return s == "" }), " ")
	default:
		return "[nothing]"
	}
}

func compile(t testing.TB, source string) *flow.Program {
	t.Helper()
	def, err := definition.ParseYAML([]byte(source))
	require.NoError(t, err, source)
	program, err := flow.Compile(def)
	require.NoError(t, err)
	return program
}

package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// golden is a conversation of internal/flow/testdata: what is said in it. What must be answered is compared where the flow alone is
// tested; here it must be the same through the service and its store.
type golden struct {
	Name       string            `yaml:"name"`
	Definition yamlv3.Node       `yaml:"definition"`
	Attributes map[string]string `yaml:"attributes"`
	Turns      []struct {
		Text     string   `yaml:"text"`
		Postback string   `yaml:"postback"`
		NoInput  bool     `yaml:"noInput"`
		Called   []string `yaml:"called"`
	} `yaml:"turns"`
	Calls map[string][]struct {
		Outcome string `yaml:"outcome"`
		JSON    any    `yaml:"json"`
	} `yaml:"calls"`
}

// goldenTime is when they are held: Wednesday 14 January 2026 in São Paulo.
var goldenTime = time.Date(2026, 1, 15, 1, 30, 0, 123_456_000, time.UTC)

func goldens(t *testing.T) map[string]golden {
	t.Helper()
	files, err := filepath.Glob("internal/flow/testdata/*.yaml")
	require.NoError(t, err)
	all := make(map[string]golden)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var some []golden
		require.NoError(t, yamlv3.NewDecoder(bytes.NewReader(text)).Decode(&some), file)
		for _, g := range some {
			all[strings.TrimSuffix(filepath.Base(file), ".yaml")+"/"+g.Name] = g
		}
	}
	require.Greater(t, len(all), 50)
	return all
}

// others are the other systems of a conversation: they answer in the order of its calls.
type others struct{ answers chan []byte } // nil: fails

func (o *others) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	select {
	case answer := <-o.answers:
		if answer != nil {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer)
			return
		}
	default:
	}
	w.WriteHeader(http.StatusInternalServerError)
}

// prepare queues the answers of a conversation.
func (o *others) prepare(t *testing.T, g *golden) {
	t.Helper()
	o.answers = make(chan []byte, 100)
	made := make(map[string]int)
	for _, turn := range g.Turns {
		for _, line := range turn.Called {
			if !strings.Contains(line, ": ") {
				continue // no request could be made
			}
			node, _, _ := strings.Cut(line, " ")
			answer := g.Calls[node][made[node]]
			made[node]++
			if answer.Outcome != "" {
				o.answers <- nil
				continue
			}
			value, err := structpb.NewValue(answer.JSON)
			require.NoError(t, err)
			text, err := protojson.Marshal(value)
			require.NoError(t, err)
			o.answers <- text
		}
	}
}

// source is the definition with the other systems where the server is.
func (g *golden) source(t *testing.T, server string) string {
	t.Helper()
	node := &g.Definition
	if node.Kind == yamlv3.AliasNode {
		node = node.Alias
	}
	source, err := yamlv3.Marshal(node)
	require.NoError(t, err)
	return strings.NewReplacer("https://a.example", server, "https://erp.example.com/orders", server+"/orders").Replace(string(source))
}

// TestGoldenConversations holds the conversations of the flow's tests through the service, on both engines: what a turn leaves in the
// store is what the next goes on with, and each is answered as by the flow alone.
func TestGoldenConversations(t *testing.T) {
	all := goldens(t)
	systems := &others{}
	server := httptest.NewServer(systems)
	t.Cleanup(server.Close)
	eachEngine(t, func(t *testing.T, f *fixture) {
		defer f.run(t)()
		f.clock.Set(goldenTime)
		for _, name := range []string{"erp", "a", "b"} {
			_, err := f.secrets.SetSecret(t.Context(), &agentv1.SetSecretRequest{Instance: "acme", Name: name, Value: "x"})
			require.NoError(t, err)
		}
		conversations, turns := 0, 0
		for name, g := range all {
			t.Run(name, func(t *testing.T) {
				created := f.create(t, "acme", &agentv1.Agent{Definition: yaml(g.source(t, server.URL))})
				want := g.alone(t, created.GetId(), systems)
				systems.prepare(t, &g)
				conversations++
				turns += len(want)
				f.contacts.attributes = g.Attributes
				for i, turn := range g.Turns {
					where := fmt.Sprintf("turn %d, %q", i+1, turn.Text+turn.Postback)
					answer, err := f.turns.RunTurn(t.Context(), &agentv1.RunTurnRequest{
						Instance: "acme", AgentId: created.GetId(), MessageId: fmt.Sprintf("%s %d", created.GetId(), i), Source: "api_channel",
						EndpointId: "e1", Identifier: "joão", Text: turn.Text, Postback: turn.Postback, NoInput: turn.NoInput,
						AcceptTime: timestamppb.New(goldenTime), ReturnContext: true,
					})
					require.NoError(t, err, where)
					requireEqual(t, &agentv1.RunTurnResponse{Messages: want[i].Messages}, &agentv1.RunTurnResponse{Messages: neutral(answer.GetMessages())})
					require.Equal(t, want[i].Node, answer.GetDebug().GetNode(), where)
					require.Equal(t, want[i].Intent, answer.GetDebug().GetIntent(), where)
					require.Equal(t, want[i].Finished, answer.GetFinished(), where)
					requireEqual(t, &structpb.Struct{Fields: want[i].Context}, answer.GetContext())
					if answer.GetFinished() {
						break
					}
				}
			})
		}
		t.Logf("%d conversations of %d turns", conversations, turns)
	})
}

// alone runs the conversation by the flow alone.
func (g *golden) alone(t *testing.T, agentID string, systems *others) []*flow.Result {
	t.Helper()
	systems.prepare(t, g)
	def, err := definition.ParseYAML([]byte(g.source(t, "https://a.example")))
	require.NoError(t, err)
	program, err := flow.Compile(def)
	require.NoError(t, err)
	location, err := time.LoadLocation("America/Sao_Paulo")
	require.NoError(t, err)
	var results []*flow.Result
	var state *agentv1.FlowState
	for i, turn := range g.Turns {
		result, err := program.Run(t.Context(), flow.Turn{
			State: state, Opening: i == 0, Text: turn.Text, Postback: turn.Postback, NoInput: turn.NoInput, Now: goldenTime, Location: location,
			InstanceSlug: "acme", AgentID: agentID, AgentName: def.GetDisplayName(), Attributes: g.Attributes, NewID: func() string { return "0" },
			Caller: systems,
		}, flow.Discard)
		require.NoError(t, err)
		result.Messages = neutral(result.Messages)
		results, state = append(results, result), result.State
	}
	return results
}

// Call implements flow.Caller, without anything between.
func (o *others) Call(context.Context, *flow.CallRequest) flow.CallAnswer {
	answer := <-o.answers
	value := &structpb.Value{}
	if answer == nil || value.UnmarshalJSON(answer) != nil {
		return flow.CallAnswer{Outcome: flow.CallStatus, Status: http.StatusInternalServerError}
	}
	return flow.CallAnswer{Outcome: flow.CallOK, Status: http.StatusOK, Value: value}
}

func neutral(messages []*messagev1.Message) []*messagev1.Message {
	all := make([]*messagev1.Message, len(messages))
	for i, m := range messages {
		all[i] = proto.CloneOf(m)
		all[i].Msgid = ""
		all[i].CreateTime = nil
	}
	return all
}

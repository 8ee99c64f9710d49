package dryrun_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/dryrun"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is everything around a dry run, and notes what was asked of it.
type world struct {
	source  string
	zone    string
	asked   []string // instances for which a model was asked
	remotes int
}

func (w *world) Definition(_ context.Context, _, agentID string, version int32) (*agentv1.Agent, *agentv1.AgentDefinition, error) {
	def, err := definition.ParseYAML([]byte(w.source))
	return &agentv1.Agent{Id: agentID, Version: max(version, 7), DisplayName: "Loja"}, def, err
}

func (w *world) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	return &accountsv1.Instance{Slug: slug, DisplayName: "Acme", TimeZone: w.zone}, nil
}

func (w *world) Ask(_ context.Context, instance string, _ *flow.Prompt, text func(string)) (*flow.Reply, error) {
	w.asked = append(w.asked, instance)
	text("do modelo")
	return &flow.Reply{Text: "do modelo", Tokens: 2}, nil
}

func (w *world) Engine(*flow.Program) engine.Engine { return w }

func (w *world) Run(_ context.Context, t flow.Turn, _ engine.Sink) (*flow.Result, error) {
	w.remotes++
	return &flow.Result{State: &agentv1.FlowState{}, Messages: []*messagev1.Message{
		{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: "de longe: " + t.Text}}},
	}}, nil
}

func (w *world) runner(t *testing.T) *dryrun.Runner {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC))
	box, err := secretbox.New("0123456789abcdef0123456789abcdef")
	require.NoError(t, err)
	return dryrun.NewRunner(dryrun.Deps{
		Agents: w, Instances: w, Clock: c, IDs: id.NewSource(c, nil), Box: box, Calls: nil, Models: w, Remotes: w,
	})
}

func (w *world) test(t *testing.T, r *agentv1.TestAgentRequest) string {
	t.Helper()
	r.Instance, r.Id = "acme", "a1"
	response, err := w.runner(t).Run(t.Context(), r)
	require.NoError(t, err)
	require.Len(t, response.GetMessages(), 1)
	return response.GetMessages()[0].GetText().GetText()
}

const modelled = `{displayName: A, fallback: f, nodes: {f: {say: [{text: do fluxo}]}}, model: {baseUrl: "http://127.0.0.1:1/v1", name: m}}`

func TestAModelIsAskedOnlyWhenItIsSaid(t *testing.T) {
	w := &world{source: modelled, zone: "America/Sao_Paulo"}
	require.Equal(t, "do fluxo", w.test(t, &agentv1.TestAgentRequest{Text: "oi"}))
	require.Empty(t, w.asked)
	require.Equal(t, "do modelo", w.test(t, &agentv1.TestAgentRequest{Text: "oi", MakeCalls: true}))
	require.Equal(t, []string{"acme"}, w.asked)
}

func TestARemoteAnswersOnlyWhenItIsSaid(t *testing.T) {
	w := &world{source: `{displayName: A, fallback: f, nodes: {f: {say: [{text: do fluxo}]}}, remote: {target: "team.example:443"}}`}
	require.Equal(t, "do fluxo", w.test(t, &agentv1.TestAgentRequest{Text: "oi"}))
	require.Zero(t, w.remotes)
	require.Equal(t, "de longe: oi", w.test(t, &agentv1.TestAgentRequest{Text: "oi", MakeCalls: true}))
	require.Equal(t, 1, w.remotes)
}

func TestTimeAndNamesAreThoseOfTheInstance(t *testing.T) {
	w := &world{zone: "America/Sao_Paulo", source: `
displayName: A
fallback: f
nodes:
  f: {say: [{text: "{{ now }} {{ instance.slug }} {{ instance.name }} {{ agent.id }} {{ agent.name }} {{ context.a }} {{ contact.b }}"}]}
`}
	request := func() *agentv1.TestAgentRequest {
		return &agentv1.TestAgentRequest{
			Text: "oi", Contact: map[string]string{"b": "c"}, Context: &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewNumberValue(1)}},
		}
	}
	require.Equal(t, "2026-02-28T23:30:00-03:00 acme Acme a1 Loja 1 c", w.test(t, request()))
	w.zone = "Mars/Olympus"
	require.Equal(t, "2026-03-01T02:30:00Z acme Acme a1 Loja 1 c", w.test(t, request()), "a zone that this machine does not know is UTC")
}

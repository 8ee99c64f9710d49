package model_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/model"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/testkit/modeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// secrets are those of acme.
type secrets map[string]string

func (s secrets) Secret(_ context.Context, instance, name string) (string, error) {
	if value, ok := s[name]; ok && instance == "acme" {
		return value, nil
	}
	return "", errors.New("no such secret")
}

type fixture struct {
	server  *modeltest.Server
	clock   *clock.Manual
	metrics *prometheus.Registry
	client  *model.Client
	prompt  *flow.Prompt

	mu     sync.Mutex
	pieces []string
	heard  chan string // gets each piece, when it is not nil
}

func newFixture(t testing.TB, script ...modeltest.Reply) *fixture {
	t.Helper()
	f := &fixture{server: modeltest.New(t, script...), clock: clock.NewManual(start), metrics: prometheus.NewRegistry()}
	metrics, err := model.NewMetrics(f.metrics)
	require.NoError(t, err)
	httpClient := egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, true).Client(egress.Options{})
	t.Cleanup(httpClient.CloseIdleConnections)
	f.client = model.NewClient(model.Deps{
		HTTP: httpClient, Secrets: secrets{"openai": "sk-canary"}, Clock: f.clock, Jitter: func() float64 { return 0 }, Metrics: metrics,
	})
	f.prompt = &flow.Prompt{
		Settings:  &agentv1.Model{BaseUrl: f.server.URL, Name: "m1"},
		Messages:  []flow.Utterance{{Role: flow.RolePerson, Text: "oi"}},
		MaxTokens: 8192, Deadline: start.Add(time.Minute),
	}
	return f
}

func (f *fixture) hear(piece string) {
	f.mu.Lock()
	f.pieces = append(f.pieces, piece)
	f.mu.Unlock()
	if f.heard != nil {
		f.heard <- piece
	}
}

func (f *fixture) ask(t testing.TB) (*flow.Reply, error) {
	t.Helper()
	return f.client.Ask(t.Context(), "acme", f.prompt, f.hear)
}

// later asks in the background.
func (f *fixture) later(t testing.TB) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := f.client.Ask(t.Context(), "acme", f.prompt, f.hear)
		done <- err
	}()
	return done
}

func (f *fixture) outcomes(outcome string) float64 {
	families, err := f.metrics.Gather()
	if err != nil {
		return -1
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetValue() == outcome {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

func requireFault(t testing.TB, err error, reason string) {
	t.Helper()
	var fault *flow.Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, reason, fault.Reason)
	require.Equal(t, reason, err.Error(), "nothing else is said")
}

func TestTokensComeAtOnce(t *testing.T) {
	f := newFixture(t)
	next := make(chan string)
	f.server.Script(modeltest.Paced(next))
	f.heard = make(chan string)
	done := f.later(t)
	for _, token := range []string{"Bom", " dia", ", João!"} {
		next <- token
		require.Equal(t, token, <-f.heard)
	}
	close(next)
	require.NoError(t, <-done)
	require.EqualValues(t, 1, f.outcomes("answered"))
	require.Equal(t, 1, testutil.CollectAndCount(f.metrics, "prosa_agent_model_first_token_seconds"))
}

func TestRequest(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-of-the-environment")
	t.Setenv("OPENAI_ORG_ID", "org-of-the-environment")
	t.Setenv("OPENAI_BASE_URL", "http://192.0.2.1/")
	f := newFixture(t, modeltest.Says("ok"))
	temperature := 0.2
	f.prompt.Settings = &agentv1.Model{BaseUrl: f.server.URL, Name: "m1", Temperature: &temperature, MaxTokens: 512, ApiKeySecret: "openai"}
	f.prompt.MaxTokens = 300
	f.prompt.Messages = []flow.Utterance{
		{Role: flow.RoleSystem, Text: "Seja breve."},
		{Role: flow.RolePerson, Text: "oi"},
		{Role: flow.RoleAgent, Text: "Olá.", Uses: []flow.Use{{ID: "use_1", Tool: "stock", Arguments: `{"item":"1"}`}}},
		{Role: flow.RoleTool, Text: "3", UseID: "use_1"},
	}
	f.prompt.Tools = []flow.Tool{{Name: "stock", Description: "Estoque", Parameters: map[string]any{"type": "object"}}}
	reply, err := f.ask(t)
	require.NoError(t, err)
	require.Equal(t, &flow.Reply{Text: "ok", Tokens: 1}, reply)

	asked := f.server.Requests()[0]
	require.Equal(t, "/v1/chat/completions", asked.Path)
	require.Equal(t, "Bearer sk-canary", asked.Header.Get("Authorization"))
	require.Equal(t, "m1", asked.Model)
	require.Equal(t, 300, *asked.MaxTokens)
	require.InDelta(t, 0.2, *asked.Temperature, 1e-9)
	require.Equal(t, []string{"system", "user", "assistant", "tool"}, []string{
		asked.Messages[0].Role, asked.Messages[1].Role, asked.Messages[2].Role, asked.Messages[3].Role,
	})
	require.Equal(t, "stock", asked.Messages[2].ToolCalls[0].Function.Name)
	require.Equal(t, "use_1", asked.Messages[3].ToolCallID)
	require.Equal(t, "stock", asked.Tools[0].Function.Name)
	for name := range asked.Header {
		require.Contains(t, []string{"Accept", "Authorization", "Content-Length", "Content-Type", "User-Agent"}, name, "nothing tells of this machine")
	}
	require.NotContains(t, string(asked.Raw), "environment")

	f.prompt.Settings = &agentv1.Model{BaseUrl: f.server.URL, Name: "m1"}
	_, err = f.ask(t)
	require.NoError(t, err)
	asked = f.server.Requests()[1]
	require.Empty(t, asked.Header.Get("Authorization"))
	require.Nil(t, asked.MaxTokens, "the endpoint's own default")
	require.Nil(t, asked.Temperature)
}

func TestUsesOfToolsComeInPieces(t *testing.T) {
	f := newFixture(t, modeltest.Uses("Vou ver.", modeltest.Call{Name: "a", Arguments: []string{`{"cp`, `f":"1`, `"}`}}, modeltest.Call{Name: "b"}))
	reply, err := f.ask(t)
	require.NoError(t, err)
	require.Equal(t, "Vou ver.", reply.Text)
	require.Equal(t, []flow.Use{{Tool: "a", Arguments: `{"cpf":"1"}`}, {Tool: "b"}}, reply.Uses)
	require.Equal(t, 6, reply.Tokens)

	// Some endpoints give all of them the same number.
	f.server.Script(modeltest.Raw(`data: {"choices":[{"index":0,"delta":{"tool_calls":[` +
		`{"index":0,"id":"x","function":{"name":"a","arguments":"{}"}},{"index":0,"id":"y","function":{"name":"b","arguments":"{}"}}]},` +
		`"finish_reason":"tool_calls"}]}` + "\n\n"))
	reply, err = f.ask(t)
	require.NoError(t, err)
	require.Equal(t, []flow.Use{{Tool: "a", Arguments: "{}"}, {Tool: "b", Arguments: "{}"}}, reply.Uses)
}

func chunk(content string) string {
	return `{"choices":[{"index":0,"delta":{"content":"` + content + `"}}]}`
}

func events(contents ...string) string {
	var b strings.Builder
	for _, content := range contents {
		b.WriteString("data: " + chunk(content) + "\n\n")
	}
	return b.String() + `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
}

func TestCharactersThatAreCut(t *testing.T) {
	for name, contents := range map[string][]string{
		"two bytes":       {"S\xc3", "\xa3o"},
		"four bytes":      {"a\xf0", "\x9f", "\x98", "\x80b"},
		"escaped halves":  {`a\ud83d`, `\ude00b`},
		"half and bytes":  {`\ud83d`, `\ude00\u00e9`, "\xc3", "\xa9"},
		"in one piece":    {"São 😀"},
		"replacement":     {"\ufffd", `\ufffd`},
		"escapes and all": {`\"\\\/\n\t\ud83d`, `\ude00\u0041`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, modeltest.Raw(events(contents...)))
			reply, err := f.ask(t)
			require.NoError(t, err)
			require.True(t, utf8.ValidString(reply.Text))
			require.Equal(t, reply.Text, strings.Join(f.pieces, ""))
			for _, piece := range f.pieces {
				require.True(t, utf8.ValidString(piece), "%q", piece)
			}
			require.Equal(t, map[string]string{
				"two bytes": "São", "four bytes": "a😀b", "escaped halves": "a😀b", "half and bytes": "😀éé", "in one piece": "São 😀",
				"replacement": "\ufffd\ufffd", "escapes and all": "\"\\/\n\t😀A",
			}[name], reply.Text)
		})
	}
}

func TestSecrets(t *testing.T) {
	f := newFixture(t, modeltest.Says("ok"))
	f.prompt.Settings.ApiKeySecret = "other"
	_, err := f.ask(t)
	requireFault(t, err, "secret_missing")
	f.prompt.Settings.ApiKeySecret = "openai"
	_, err = f.client.Ask(t.Context(), "stranger", f.prompt, f.hear)
	requireFault(t, err, "secret_missing")
	require.Empty(t, f.server.Requests(), "nothing is asked without the key")
}

// TestManyStreams has 200 models say 200 tokens each at once.
func TestManyStreams(t *testing.T) {
	const streams, tokens = 200, 200
	said := make([]string, tokens)
	for i := range said {
		said[i] = "palavra-" + string(rune('a'+i%26)) + "ção "
	}
	f := newFixture(t, modeltest.Says(said...))
	var all sync.WaitGroup
	for range streams {
		all.Go(func() {
			var heard strings.Builder
			pieces := 0
			reply, err := f.client.Ask(t.Context(), "acme", f.prompt, func(piece string) { heard.WriteString(piece); pieces++ })
			if err != nil || pieces != tokens || heard.String() != strings.Join(said, "") || reply.Text != heard.String() {
				t.Errorf("%d pieces, %v", pieces, err)
			}
		})
	}
	all.Wait()
}

func TestAConnectionServesMoreThanOneStream(t *testing.T) {
	f := newFixture(t, modeltest.Says("um", " dois"))
	for range 3 {
		_, err := f.ask(t)
		require.NoError(t, err)
	}
	asked := f.server.Requests()
	require.Len(t, asked, 3)
	require.Equal(t, asked[0].Remote, asked[1].Remote)
	require.Equal(t, asked[0].Remote, asked[2].Remote)
}

func TestAStreamThatDoesNotEndIsLeft(t *testing.T) {
	f := newFixture(t, func(s *modeltest.Stream) {
		s.Delta(map[string]any{"content": "pronto"}, "stop")
		s.Wait() // the model has ended, the stream goes on
	})
	f.heard = make(chan string, 1)
	done := f.later(t)
	require.Equal(t, "pronto", <-f.heard)
	f.clock.AwaitTimers(3) // of the token that would be next, of the whole, and of the end
	f.clock.Advance(20 * time.Millisecond)
	require.NoError(t, <-done)
}

package turn_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/model"
	"github.com/prosa-chat/prosa/services/agent/internal/past"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/testkit/modeltest"
)

// keys are the secrets of acme.
type keys struct{}

func (keys) Secret(_ context.Context, instance, name string) (string, error) {
	if instance != "acme" || name != "openai" {
		return "", errors.New("no such secret")
	}
	return "sk-canary", nil
}

// modelled has agent a2 of acme ask a scripted model.
func (f *fixture) modelled(t *testing.T, log *bytes.Buffer, script ...modeltest.Reply) *modeltest.Server {
	t.Helper()
	return f.modelledAs(t, log, "a2", script...)
}

func (f *fixture) modelledAs(t *testing.T, log *bytes.Buffer, agentID string, script ...modeltest.Reply) *modeltest.Server {
	t.Helper()
	server := modeltest.New(t, script...)
	client := egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, true).Client(egress.Options{})
	t.Cleanup(client.CloseIdleConnections)
	metrics, err := model.NewMetrics(nil)
	require.NoError(t, err)
	deps := f.deps
	deps.Logger = slog.New(slog.NewJSONHandler(log, nil))
	deps.Models = model.NewClient(model.Deps{HTTP: client, Secrets: keys{}, Clock: f.clock, Jitter: func() float64 { return 0 }, Metrics: metrics})
	deps.Past = past.Reader{Store: f.store}
	f.runner = turn.NewRunner(deps)
	history := int32(2)
	f.createAgent(t, "acme", agentID, &agentv1.AgentDefinition{
		DisplayName: "Loja", Fallback: "lost",
		Nodes: map[string]*agentv1.Node{"lost": {Say: []*agentv1.Say{say("Não entendi.")}}},
		Model: &agentv1.Model{
			BaseUrl: server.URL, Name: "m1", ApiKeySecret: "openai", HistoryTurns: &history, Instructions: "Loja {{ instance.name }}",
		},
	})
	return server
}

func toModel(id, text string) *agentv1.RunTurnRequest {
	m := message(id, text)
	m.AgentId = "a2"
	return m
}

func TestTheModelSeesWhatWasSaid(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		var log bytes.Buffer
		server := f.modelled(t, &log,
			modeltest.Says("Um", "."), modeltest.Says("Dois."), modeltest.Says("Três."), modeltest.Says("Quatro."))
		for i, text := range []string{"primeira", "segunda", "terceira", "quarta"} {
			if i == 3 { // as another process would
				f.runner = turn.NewRunner(f.runner.Deps)
			}
			f.run(t, toModel("m"+text, text))
		}
		var seen []string
		for _, m := range server.Requests()[3].Messages {
			seen = append(seen, m.Role+": "+m.Content)
		}
		require.Equal(t, []string{
			"system: Loja Loja acme", "user: segunda", "assistant: Dois.", "user: terceira", "assistant: Três.", "user: quarta",
		}, seen)
		require.Len(t, server.Requests()[0].Messages, 2)
		require.Equal(t, "Bearer sk-canary", server.Requests()[0].Header.Get("Authorization"))
		require.Empty(t, log.String())
	})
}

// stream is a sink that remembers what came.
type stream struct{ seen []string }

func (s *stream) Text(piece string) { s.seen = append(s.seen, piece) }
func (s *stream) Message(m *messagev1.Message) {
	s.seen = append(s.seen, "["+m.GetText().GetText()+"]")
}
func (s *stream) Restart() { s.seen = append(s.seen, "restart") }

func TestAModelThatFails(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		var log bytes.Buffer
		server := f.modelled(t, &log, modeltest.Dies("Em ", "30"))
		answer := f.run(t, toModel("m1", "canary-words"))
		require.Equal(t, []string{"Não entendi."}, texts(answer), "a half answer is never delivered")
		require.Contains(t, log.String(), `"reason":"cut_off"`)

		log.Reset()
		seen := &stream{}
		_, err := f.runner.Run(t.Context(), toModel("m2", "canary-words"), seen)
		requireReason(t, err, codes.Unavailable, "ANSWER_INTERRUPTED")
		require.Equal(t, []string{"Em ", "30"}, seen.seen)
		require.Contains(t, log.String(), `"reason":"cut_off"`)
		require.Equal(t, 1, f.count(t, "SELECT count(*) FROM turn WHERE instance = 'acme'"), "nothing of it is kept")

		server.Script(modeltest.Says("Em 30 ", "dias."))
		seen = &stream{}
		answer, err = f.runner.Run(t.Context(), toModel("m2", "canary-words"), seen)
		require.NoError(t, err)
		require.Equal(t, []string{"Em 30 ", "dias.", "[Em 30 dias.]"}, seen.seen)
		require.Equal(t, []string{"Em 30 dias."}, texts(answer))

		// The same turn again asks nobody, and is told as a whole.
		asked := len(server.Requests())
		seen = &stream{}
		again, err := f.runner.Run(t.Context(), toModel("m2", "canary-words"), seen)
		require.NoError(t, err)
		require.True(t, proto.Equal(answer, again))
		require.Equal(t, []string{"[Em 30 dias.]"}, seen.seen)
		require.Len(t, server.Requests(), asked)
		require.NotContains(t, log.String(), "canary")
	})
}

// TestHangingModel has a model hang: the flow answers before who waits gives up.
func TestHangingModel(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		var log bytes.Buffer
		f.modelled(t, &log, modeltest.Hangs())
		done := make(chan *agentv1.RunTurnResponse, 1)
		go func() {
			answer, err := f.runner.Run(t.Context(), toModel("m1", "oi"), engine.Discard)
			if err != nil {
				t.Error(err)
			}
			done <- answer
		}()
		f.clock.AwaitTimers(2)
		f.clock.Advance(15 * time.Second)
		require.Equal(t, []string{"Não entendi."}, texts(<-done))
		require.Contains(t, log.String(), "first_token_timeout")
	})
}

// TestHostileModel has a model call what it may not: nothing but the model itself hears of it.
func TestHostileModel(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		canary := modeltest.New(t, modeltest.Says("leaked"))
		for name, reply := range map[string]modeltest.Reply{
			"unknown tools": modeltest.Uses("", modeltest.Call{Name: "http_get", Arguments: []string{`{"url":"` + canary.URL + `"}`}}),
			"a redirect":    modeltest.Redirects(canary.URL + "/chat/completions"),
			"a huge token":  modeltest.Says(strings.Repeat("a", 10<<20)),
			"no text":       modeltest.Raw("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\xff\"}}]}\n\n"),
		} {
			var log bytes.Buffer
			server := f.modelledAs(t, &log, "a-"+strings.ReplaceAll(name, " ", "-"), reply)
			m := message("m-"+name, "oi")
			m.AgentId = "a-" + strings.ReplaceAll(name, " ", "-")
			require.Equal(t, []string{"Não entendi."}, texts(f.run(t, m)), name)
			require.NotEmpty(t, server.Requests())
			require.NotContains(t, log.String(), "sk-canary")
		}
		require.Empty(t, canary.Requests())
	})
}

// TestManyStreams has a model answer 200 turns at once, each in 200 tokens.
func TestManyStreams(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		var log bytes.Buffer
		said := make([]string, 200)
		for i := range said {
			said[i] = "peça " + strconv.Itoa(i) + " "
		}
		f.modelled(t, &log, modeltest.Says(said...))
		want := append(slices.Clone(said), "["+strings.Join(said, "")+"]")
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				m, seen := toModel("m"+strconv.Itoa(i), "oi"), &stream{}
				m.Identifier = strconv.Itoa(i)
				answer, err := f.runner.Run(t.Context(), m, seen)
				if err != nil || !slices.Equal(want, seen.seen) || answer.GetMessages()[0].GetText().GetText() != strings.Join(said, "") {
					t.Errorf("%d pieces: %v", len(seen.seen), err)
				}
			})
		}
		all.Wait()
		require.Empty(t, log.String())
	})
}

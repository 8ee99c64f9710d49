package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit/modeltest"
)

// advised is an agent with a model that may use an answer.
const advised = `
displayName: Consultor
fallback: lost
answers: [{name: hours, questions: ["que horas abre"], text: "Das 9h às 18h."}]
nodes: {lost: {say: [{text: fora do ar}]}}
model: {baseUrl: "%s", name: m1, apiKeySecret: openai, tools: [hours]}
`

// TestModelsOfAgents has an agent's model answer on a channel: rightly, with a
// tool, and while the model fails in all its ways. What is delivered is whole,
// nothing is called but the model, and neither its key nor what was said is in
// log or metrics.
func TestModelsOfAgents(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, time.Minute)
		settings["log-level"] = "debug"
		canary := modeltest.New(t, modeltest.Says("leaked"))
		model := modeltest.New(t, modeltest.Says("Olá, ", "posso ", "ajudar?"))
		prosa := mortal(t, harness.Spec{Settings: settings})
		client := clientOf(t, prosa)
		receiver := receive(t, nil)
		setup, err := client.Create(ctx, fmt.Sprintf("models-%d", instances.Add(1)), fmt.Sprintf(advised, model.URL), receiver.URL, false)
		require.NoError(t, err)
		answers := 0
		ask := func(text string) string {
			say(ctx, t, client, setup.ChannelID, "ana", text)
			answers++
			require.NoError(t, receiver.WaitCount(ctx, answers))
			return string(receiver.First()[answers-1].Body)
		}

		require.Contains(t, ask("oi"), "fora do ar", "the secret is not there yet")
		require.Empty(t, model.Requests())
		secrets := "/v1/instances/" + setup.Instance + "/secrets/openai"
		require.NoError(t, client.Call(ctx, http.MethodPut, secrets, map[string]any{"value": plantedToken}, nil))
		require.Contains(t, ask(plantedText), `"Olá, posso ajudar?"`)
		asked := model.Requests()[0]
		require.Equal(t, "Bearer "+plantedToken, asked.Header.Get("Authorization"))
		require.Equal(t, []string{"oi", "fora do ar", plantedText}, contents(asked))

		model.Script(modeltest.Uses("", modeltest.Call{Name: "hours", Arguments: []string{"{", "}"}}))
		require.Contains(t, ask("abre cedo?"), "Das 9h às 18h.")
		for name, reply := range map[string]modeltest.Reply{
			"dies in the middle":    modeltest.Dies("metade ", "de "),
			"ends in the middle":    modeltest.EndsEarly("metade "),
			"ten megabytes":         modeltest.Says(strings.Repeat("metade", 2<<20)),
			"no text":               modeltest.Raw("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"metade\xff\"}}]}\n\n"),
			"an error page":         modeltest.Page(http.StatusBadRequest, "text/html", "<html>metade"),
			"a redirect":            modeltest.Redirects(canary.URL + "/chat/completions"),
			"tools that are none":   modeltest.Uses("", modeltest.Call{Name: "http_get", Arguments: []string{`{"url":"` + canary.URL + `"}`}}),
			"tokens without an end": modeltest.Endless("metade "),
		} {
			model.Script(reply)
			body := ask(name)
			require.Contains(t, body, "fora do ar", name)
			require.NotContains(t, body, "metade", name)
		}
		require.Empty(t, canary.Requests())

		counted := metrics(ctx, t, prosa)
		require.EqualValues(t, 2+5, counted[`prosa_agent_model_calls_total{outcome="answered"}`], "the unknown tool is a step of five")
		require.EqualValues(t, 2, counted[`prosa_agent_model_calls_total{outcome="cut_off"}`])
		require.EqualValues(t, 2, counted[`prosa_agent_model_calls_total{outcome="status"}`])
		for name := range counted {
			require.NotContains(t, name, plantedWord)
		}
		for _, private := range []string{plantedWord, "metade", model.URL, canary.URL} {
			require.NotContains(t, prosa.Output(), private)
		}
	})
}

// contents are the words of a request.
func contents(r *modeltest.Request) []string {
	all := make([]string, len(r.Messages))
	for i := range r.Messages {
		all[i] = r.Messages[i].Content
	}
	return all
}

// assisted is an agent that a program of its team answers.
const assisted = `
displayName: Programa
fallback: lost
nodes: {lost: {say: [{text: fora do ar}]}}
remote: {target: "%s", insecure: true, tokenSecret: engine}
`

// counter is a team's program: it counts the turns of a conversation.
type counter struct {
	agentv1.UnimplementedEngineServiceServer
	tokens chan string
}

func (c *counter) AnswerTurn(r *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
	md, _ := metadata.FromIncomingContext(to.Context())
	c.tokens <- strings.Join(md.Get("authorization"), ",")
	n := r.GetContext().GetFields()["n"].GetNumberValue() + 1
	kept, err := structpb.NewStruct(map[string]any{"n": n})
	if err != nil {
		return err
	}
	for _, step := range []*agentv1.AnswerTurnResponse{
		{Step: &agentv1.AnswerTurnResponse_Context{Context: kept}},
		{Step: &agentv1.AnswerTurnResponse_Text{Text: &agentv1.TextPiece{Piece: fmt.Sprintf("turno %v: ", n)}}},
		{Step: &agentv1.AnswerTurnResponse_Text{Text: &agentv1.TextPiece{Piece: r.GetText()}}},
	} {
		if err := to.Send(step); err != nil {
			return err
		}
	}
	return nil
}

// TestRemotePrograms has a team's program answer on a channel, go away, and
// come back: the flow answers in between.
func TestRemotePrograms(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, time.Minute)
		program := &counter{tokens: make(chan string, 10)}
		address, err := harness.FreeAddr() // nobody else gets it while the program is away
		require.NoError(t, err)
		listener, err := net.Listen("tcp4", address)
		require.NoError(t, err)
		serve := func(on net.Listener) *grpc.Server {
			server := grpc.NewServer()
			agentv1.RegisterEngineServiceServer(server, program)
			go func() { _ = server.Serve(on) }()
			t.Cleanup(server.Stop)
			return server
		}
		first := serve(listener)
		prosa := mortal(t, harness.Spec{Settings: settings})
		client := clientOf(t, prosa)
		receiver := receive(t, nil)
		setup, err := client.Create(ctx, fmt.Sprintf("remote-%d", instances.Add(1)), fmt.Sprintf(assisted, address), receiver.URL, false)
		require.NoError(t, err)
		secrets := "/v1/instances/" + setup.Instance + "/secrets/engine"
		require.NoError(t, client.Call(ctx, http.MethodPut, secrets, map[string]any{"value": plantedToken}, nil))
		answers := 0
		ask := func(text string) string {
			say(ctx, t, client, setup.ChannelID, "ana", text)
			answers++
			require.NoError(t, receiver.WaitCount(ctx, answers))
			return string(receiver.First()[answers-1].Body)
		}
		require.Contains(t, ask("a"), "turno 1: a")
		require.Contains(t, ask("b"), "turno 2: b")
		require.Equal(t, "Bearer "+plantedToken, <-program.tokens)
		first.Stop()
		require.Contains(t, ask("c"), "fora do ar")
		again, err := net.Listen("tcp4", address)
		require.NoError(t, err)
		serve(again)
		require.Eventually(t, func() bool { return strings.Contains(ask("d"), "turno 3: d") }, 20*time.Second, 100*time.Millisecond)
		require.NotContains(t, prosa.Output(), plantedToken)
	})
}

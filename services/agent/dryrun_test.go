package agent_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// orders is an agent that asks, calls, and reports.
func orders(url string) string {
	return fmt.Sprintf(`
displayName: Pedidos
start: q
nodes:
  q: {ask: {text: "CPF?", save: contact.cpf, as: cpf}, goto: lookup}
  lookup:
    call: {url: "%s/orders?cpf={{ contact.cpf }}", headers: {X-Key: "{{ secret.erp }}"}, save: context.order, onError: human}
    say: [{text: "Pedido {{ context.order.status }} de {{ contact.name }} por {{ context.from }}"}]
    event: {name: consulta, details: {status: "{{ context.order.status }}"}}
    end: true
  human: {say: [{text: "Vou chamar."}], handoff: {squad: loja}}
`, url)
}

func TestADryRunStoresNothing(t *testing.T) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.Header.Get("X-Key") != "hush" {
			t.Error("the secret is not sent")
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"real"}`)
	}))
	t.Cleanup(server.Close)
	eachEngine(t, func(t *testing.T, f *fixture) {
		defer f.run(t)()
		before := calls.Load()
		ctx := t.Context()
		created := f.create(t, "acme", &agentv1.Agent{DisplayName: "Outro", Definition: yaml(orders(server.URL))})
		_, err := f.secrets.SetSecret(ctx, &agentv1.SetSecretRequest{Instance: "acme", Name: "erp", Value: "hush"})
		require.NoError(t, err)
		test := func(r *agentv1.TestAgentRequest) *agentv1.TestAgentResponse {
			r.Instance, r.Id = "acme", created.GetId()
			response, err := f.TestAgent(ctx, r)
			require.NoError(t, err)
			return response
		}
		words := func(r *agentv1.TestAgentResponse) (all []string) {
			for _, m := range r.GetMessages() {
				all = append(all, m.GetText().GetText())
			}
			return all
		}
		from := &structpb.Struct{Fields: map[string]*structpb.Value{"from": structpb.NewStringValue("site")}}
		first := test(&agentv1.TestAgentRequest{Text: "oi", Contact: map[string]string{"name": "Ana Quetzal"}, Context: from})
		require.Equal(t, []string{"CPF?"}, words(first))
		require.Equal(t, "q", first.GetDebug().GetNode())
		require.EqualValues(t, 1, first.GetDebug().GetAgentVersion())
		require.NotEmpty(t, first.GetState())
		state, err := base64.RawURLEncoding.DecodeString(first.GetState())
		require.NoError(t, err)
		require.NotContains(t, string(state), "Ana Quetzal")

		refused := test(&agentv1.TestAgentRequest{Text: "123", State: first.GetState()})
		require.Equal(t, []string{"CPF?"}, words(refused))

		// The same state may be gone on from as often as one likes.
		unmade := test(&agentv1.TestAgentRequest{Text: "529.982.247-25", State: first.GetState()})
		require.Equal(t, []string{"Vou chamar."}, words(unmade))
		require.Equal(t, "loja", unmade.GetSquad())
		url := server.URL + "/orders?cpf=52998224725"
		requireEqual(t, &agentv1.TestedCall{Node: "lookup", Method: "GET", Url: url, Outcome: "unavailable"}, unmade.GetCalls()[0])
		require.Equal(t, before, calls.Load())

		written := test(&agentv1.TestAgentRequest{
			Text: "529.982.247-25", State: first.GetState(), MakeCalls: true, CallAnswers: map[string]*structpb.Value{
				"lookup": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"status": structpb.NewStringValue("escrito")}}),
			},
		})
		require.Equal(t, []string{"Pedido escrito de Ana Quetzal por site"}, words(written))
		require.True(t, written.GetFinished())
		require.Empty(t, written.GetState())
		require.Equal(t, map[string]string{"cpf": "52998224725"}, written.GetContact())
		require.Equal(t, "site", written.GetContext().GetFields()["from"].GetStringValue())
		requireEqual(t, &agentv1.TestedEvent{Name: "consulta", Details: map[string]string{"status": "escrito"}}, written.GetEvents()[0])
		require.Equal(t, before, calls.Load())

		made := test(&agentv1.TestAgentRequest{Text: "529.982.247-25", State: first.GetState(), MakeCalls: true})
		require.Equal(t, []string{"Pedido real de Ana Quetzal por site"}, words(made))
		requireEqual(t, &agentv1.TestedCall{Node: "lookup", Method: "GET", Url: url, Outcome: "ok", StatusCode: 200}, made.GetCalls()[0])
		require.Equal(t, before+1, calls.Load())
		require.NotContains(t, made.String(), "hush")

		draft := test(&agentv1.TestAgentRequest{Text: "oi", Definition: yaml(says("Rascunho", "rascunho"))})
		require.Equal(t, []string{"rascunho"}, words(draft))
		require.Zero(t, draft.GetDebug().GetAgentVersion())
		require.Equal(t, []string{"CPF?"}, words(test(&agentv1.TestAgentRequest{NoInput: true})))
		f.publish(t, created.GetId(), says("Novo", "novo"))
		require.Equal(t, []string{"novo"}, words(test(&agentv1.TestAgentRequest{Text: "oi"})))
		require.Equal(t, []string{"CPF?"}, words(test(&agentv1.TestAgentRequest{Text: "oi", Version: 1})))
		require.Equal(t, []string{"novo"}, words(test(&agentv1.TestAgentRequest{Text: "oi", State: first.GetState()})), "a state of another version")

		for _, table := range []string{"conversation", "turn", "pending_record"} {
			var rows int
			require.NoError(t, f.deps.DB.Reader().QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&rows))
			require.Zero(t, rows, table)
		}
		require.Empty(t, f.contacts.opened)
		require.Empty(t, f.contacts.recorded)
	})
}

func TestWhatADryRunRefuses(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		one, two := f.create(t, "acme", &agentv1.Agent{}), f.create(t, "acme", &agentv1.Agent{})
		theirs := f.create(t, "other", &agentv1.Agent{})
		first, err := f.TestAgent(t.Context(), &agentv1.TestAgentRequest{Instance: "acme", Id: one.GetId(), Text: "oi"})
		require.NoError(t, err)
		for _, r := range []*agentv1.TestAgentRequest{
			{Instance: "acme", Id: two.GetId(), State: first.GetState()},
			{Instance: "other", Id: theirs.GetId(), State: first.GetState()},
			{Instance: "acme", Id: one.GetId(), State: first.GetState()[1:]},
			{Instance: "acme", Id: one.GetId(), State: "ç"},
			{Instance: "acme", Id: one.GetId(), State: strings.Repeat("A", 1000)},
		} {
			r.Text = "oi"
			_, err := f.TestAgent(t.Context(), r)
			requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")
		}
		_, err = f.TestAgent(t.Context(), &agentv1.TestAgentRequest{
			Instance: "acme", Id: one.GetId(), Text: "oi", Definition: yaml("displayName: A\nfallback: gone\n"),
		})
		requireReason(t, err, codes.InvalidArgument, "AGENT_DEFINITION_INVALID")
		require.Equal(t, []rpcerr.Violation{{Field: "definition.fallback", Reason: `line 2, column 11: there is no node "gone"`}},
			rpcerr.Violations(status.Convert(err)))
	})
}

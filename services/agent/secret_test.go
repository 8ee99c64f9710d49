package agent_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/egress"
)

// loopback lets the servers of these tests be called.
func loopback() *egress.Guard {
	return egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true)
}

func TestSecretsAreWriteOnly(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		for _, name := range []string{"erp", "crm", "api"} {
			made, err := f.secrets.SetSecret(ctx, &agentv1.SetSecretRequest{Instance: "acme", Name: name, Value: "hush-hush"})
			require.NoError(t, err)
			requireEqual(t, &agentv1.SetSecretResponse{Secret: &agentv1.Secret{
				Name: name, CreateTime: made.GetSecret().GetCreateTime(), UpdateTime: made.GetSecret().GetCreateTime(),
			}}, made)
			require.NotContains(t, made.String(), "hush")
		}
		page, err := f.secrets.ListSecrets(ctx, &agentv1.ListSecretsRequest{Instance: "acme", PageSize: 2})
		require.NoError(t, err)
		require.Equal(t, []string{"api", "crm"}, []string{page.GetSecrets()[0].GetName(), page.GetSecrets()[1].GetName()})
		require.NotContains(t, page.String(), "hush")
		last, err := f.secrets.ListSecrets(ctx, &agentv1.ListSecretsRequest{Instance: "acme", PageSize: 2, PageToken: page.GetNextPageToken()})
		require.NoError(t, err)
		require.Len(t, last.GetSecrets(), 1)
		require.Empty(t, last.GetNextPageToken())
		_, err = f.secrets.ListSecrets(ctx, &agentv1.ListSecretsRequest{Instance: "other", PageToken: page.GetNextPageToken()})
		requireReason(t, err, codes.InvalidArgument, "REQUEST_INVALID")

		_, err = f.secrets.DeleteSecret(ctx, &agentv1.DeleteSecretRequest{Instance: "other", Name: "erp"})
		requireReason(t, err, codes.NotFound, "SECRET_NOT_FOUND")
		_, err = f.secrets.DeleteSecret(ctx, &agentv1.DeleteSecretRequest{Instance: "acme", Name: "erp"})
		require.NoError(t, err)
		for _, call := range []func() error{
			func() error {
				_, err := f.secrets.SetSecret(ctx, &agentv1.SetSecretRequest{Instance: "nowhere", Name: "a", Value: "b"})
				return err
			},
			func() error {
				_, err := f.secrets.ListSecrets(ctx, &agentv1.ListSecretsRequest{Instance: "nowhere"})
				return err
			},
		} {
			requireReason(t, call(), codes.NotFound, "INSTANCE_NOT_FOUND")
		}
		f.principal = auth.Principal{Instance: "acme"}
		asked := f.instances.asked
		_, err = f.secrets.ListSecrets(ctx, &agentv1.ListSecretsRequest{Instance: "acme"})
		require.NoError(t, err)
		require.Equal(t, asked, f.instances.asked, "the caller's key shows that there is the instance")
	})
}

// A flow calls another system with a secret, and goes on with what that answers; a secret that is not there is a call that failed.
func TestATurnCallsAnotherSystem(t *testing.T) {
	requests := make(chan *http.Request, 10)
	bodies := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- r
		bodies <- string(body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"T-1"}`)
	}))
	t.Cleanup(server.Close)
	eachEngine(t, func(t *testing.T, f *fixture) {
		defer f.run(t)()
		created := f.create(t, "acme", &agentv1.Agent{Definition: yaml(`
displayName: Chamados
fallback: open
nodes:
  open:
    call:
      method: POST
      url: "` + server.URL + `/tickets"
      headers: {Authorization: "Bearer {{ secret.erp }}"}
      body: '{"text": "{{ input.text }}"}'
      save: context.ticket
      onError: failed
    say: [{text: "Chamado {{ context.ticket.id }}"}]
  failed: {say: [{text: "Não deu."}]}
`)})
		turn := func(messageID string) string {
			answer, err := f.turns.RunTurn(t.Context(), &agentv1.RunTurnRequest{
				Instance: "acme", AgentId: created.GetId(), MessageId: messageID, Source: "api_channel", EndpointId: "e1", Identifier: "joão",
				Text: `oi", "admin": "sim`, AcceptTime: timestamppb.New(start),
			})
			require.NoError(t, err)
			return answer.GetMessages()[0].GetText().GetText()
		}
		require.Equal(t, "Não deu.", turn("m1"))
		require.Empty(t, requests, "nothing is sent without the secret")
		_, err := f.secrets.SetSecret(t.Context(), &agentv1.SetSecretRequest{Instance: "acme", Name: "erp", Value: "hush-hush"})
		require.NoError(t, err)
		require.Equal(t, "Chamado T-1", turn("m2"))
		sent := <-requests
		require.Equal(t, "Bearer hush-hush", sent.Header.Get("Authorization"))
		require.Equal(t, "Prosa/1.2.3", sent.Header.Get("User-Agent"))
		require.NotEmpty(t, sent.Header.Get("Idempotency-Key"))
		require.JSONEq(t, `{"text": "oi\", \"admin\": \"sim"}`, <-bodies)
		require.Equal(t, "Chamado T-1", turn("m2"), "the stored answer")
		require.Empty(t, requests, "a turn that is stored calls no more")
	})
}

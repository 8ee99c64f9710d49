package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// caller is an agent that asks another system for each message.
const caller = `
displayName: Consulta
fallback: ask
nodes:
  ask:
    call:
      method: POST
      url: "%s/orders/{{ input.text }}"
      headers: {Authorization: "Bearer {{ secret.erp }}"}
      body: '{"cpf": "11144477735", "order": {{ input.text }}}'
      save: context.order
      onError: down
    say: [{text: "{{ context.order.status }}"}]
  down: {say: [{text: fora do ar}]}
`

// system is another system: it notes what it is asked, and answers as it is
// told.
type system struct {
	mu     sync.Mutex
	keys   []string // Idempotency-Key
	asked  chan *http.Request
	answer func(w http.ResponseWriter, r *http.Request)
}

func (s *system) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	answer := s.answer
	s.mu.Unlock()
	s.asked <- r
	answer(w, r)
}

func (s *system) set(answer func(w http.ResponseWriter, r *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func shipped(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"status":"enviado"}`)
}

// TestCallsOfFlows has flows call another system with a secret: rightly, while
// that system fails, and over the death of Prosa in the middle of a call. The
// answer leaves once, the repeated call has the key of the first, and neither
// the secret nor what was said is in log or metrics.
func TestCallsOfFlows(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, time.Minute)
		settings["log-level"] = "debug"
		other := &system{asked: make(chan *http.Request, 100)}
		other.set(shipped)
		server := httptest.NewServer(other)
		t.Cleanup(server.Close)
		prosa := mortal(t, harness.Spec{Settings: settings})
		client := clientOf(t, prosa)
		receiver := receive(t, nil)
		setup, err := client.Create(ctx, fmt.Sprintf("calls-%d", instances.Add(1)), fmt.Sprintf(caller, server.URL), receiver.URL, false)
		require.NoError(t, err)
		answers := 0
		ask := func(text string) string {
			say(ctx, t, client, setup.ChannelID, "ana", text)
			answers++
			require.NoError(t, receiver.WaitCount(ctx, answers))
			return string(receiver.First()[answers-1].Body)
		}

		require.Contains(t, ask("1"), "fora do ar", "the secret is not there yet")
		require.Empty(t, other.asked)
		secrets := "/v1/instances/" + setup.Instance + "/secrets/erp"
		require.NoError(t, client.Call(ctx, http.MethodPut, secrets, map[string]any{"value": plantedToken}, nil))
		require.Contains(t, ask(plantedWord+"/?a=b&"), "enviado")
		asked := <-other.asked
		require.Equal(t, "Bearer "+plantedToken, asked.Header.Get("Authorization"))
		require.Contains(t, asked.RequestURI, "/orders/")
		require.NotContains(t, asked.RequestURI, "?")
		require.Regexp(t, `^Prosa/`, asked.Header.Get("User-Agent"))

		other.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		require.Contains(t, ask("3"), "fora do ar")
		<-other.asked
		counted := metrics(ctx, t, prosa)
		require.EqualValues(t, 1, counted[`prosa_agent_calls_total{outcome="ok"}`])
		require.EqualValues(t, 1, counted[`prosa_agent_calls_total{outcome="status"}`])
		require.EqualValues(t, 1, counted[`prosa_agent_calls_total{outcome="secret"}`])
		for name := range counted {
			require.NotContains(t, name, plantedWord)
		}

		// The first call of this message never ends: Prosa dies in it.
		other.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		say(ctx, t, client, setup.ChannelID, "ana", "4")
		<-other.asked
		killed := prosa
		killed.Kill()
		other.set(shipped)
		prosa = again(t, killed)
		client = clientOf(t, prosa)
		answers++
		require.NoError(t, receiver.WaitCount(ctx, answers))
		require.Contains(t, string(receiver.First()[answers-1].Body), "enviado")
		other.mu.Lock()
		keys := other.keys
		other.mu.Unlock()
		require.Len(t, keys, 4)
		require.Equal(t, keys[2], keys[3], "the call of the same turn")
		require.NotEqual(t, keys[0], keys[1])
		require.NotEqual(t, keys[1], keys[2])
		require.Len(t, receiver.First(), answers)

		for _, process := range []*harness.Process{killed, prosa} {
			for _, private := range []string{plantedWord, plantedToken, "11144477735", server.Listener.Addr().String()} {
				require.NotContains(t, process.Output(), private)
			}
		}
	})
}

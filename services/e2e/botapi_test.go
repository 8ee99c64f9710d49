package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestAssistantTimesOut calls an integration of version V1 while nobody answers:
// the call ends in time, and the message is answered all the same, after a
// restart that did not lose it.
func TestAssistantTimesOut(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, time.Minute)
		settings["answer-timeout"], settings["turns"] = "1s", "false"
		prosa := launch(t, harness.Spec{Settings: settings})
		require.NoError(t, prosa.WaitReady(ctx))
		client := clientOf(t, prosa)
		setup := setUp(ctx, t, client, "https://example.com/")
		var bot struct{ ID, Token string }
		fields := map[string]any{"agentId": setup.AgentID, "version": "V1"}
		require.NoError(t, client.Call(ctx, http.MethodPost, "/v1/instances/"+setup.Instance+"/botApis", fields, &bot))
		message := call{
			Method: http.MethodPost, Path: "/" + setup.Instance + "/api/" + bot.ID, Body: `{"identifier":"ana","input":{"text":"oi"}}`,
			Headers: map[string]string{"Authorization": bot.Token, "Idempotency-Key": "once"},
		}
		began := time.Now()
		got, _ := restTransport{client}.call(ctx, t, message, values{})
		require.Equal(t, http.StatusGatewayTimeout, got.status)
		require.Equal(t, `{"code":504,"message":"Assistant timed out."}`, string(got.body))
		require.WithinRange(t, time.Now(), began.Add(time.Second), began.Add(10*time.Second))

		require.NoError(t, prosa.Stop())
		delete(settings, "turns")
		settings["answer-timeout"] = "30s"
		client = clientOf(t, start(t, harness.Spec{Settings: settings}))
		got, _ = restTransport{client}.call(ctx, t, message, values{})
		require.Equal(t, http.StatusOK, got.status)
		require.Equal(t, `{"code":200,"message":"Message sent.","identifier":"ana","output":[{"type":"text","text":"eco: oi"}]}`, string(got.body))
	})
}

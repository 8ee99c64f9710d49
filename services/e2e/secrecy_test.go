package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// What is planted, and must appear in no log line and no metric. Each begins
// or ends with a word that nothing else has.
const (
	plantedWord    = "quetzalcoatl"
	plantedText    = plantedWord + " said this"
	plantedCPF     = "11144477735"
	plantedToken   = plantedWord + "-token-0123456789"
	plantedAnswer  = plantedWord + " received it"
	plantedURLPart = "hook-" + plantedWord + "?token=" + plantedWord
)

// nasty is an identifier that tries to end its log line and to command the
// terminal.
const nasty = plantedWord + "\r\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\ntime=2026 level=ERROR msg=forged\x1b[2J\x1b]0;forged\x07\u2028\u009b31m"

// careless is an agent whose turns go wrong in ways that show what was said,
// if anybody shows them.
const careless = `
displayName: quetzalcoatl
fallback: start
nodes:
  start:
    set: {contact.name: "{{ input.text }}", contact.cpf: "11144477735", context.count: "{{ string(int(input.text)) }}"}
    say: [{text: "{{ input.text }}"}, {text: "counting {{ string(int(input.text)) }}"}]
    event: {name: quetzalcoatl, details: {said: "{{ input.text }}"}}
    branch: [{when: "int(input.text) > 3", goto: more}, {goto: more}]
  more:
    say: [{text: "{{ input.text }} again"}]
`

// TestLogsKeepSecrets logs everything there is to log while messages, keys,
// tokens and names pass through, rightly and wrongly, and looks for them.
func TestLogsKeepSecrets(t *testing.T) {
	for _, format := range []struct {
		name string
		// line is what each line of the log is, whatever was said.
		line *regexp.Regexp
	}{
		{"json", regexp.MustCompile(`^\{"time":"[^"]+","level":"(DEBUG|INFO|WARN|ERROR)","msg":.*\}$`)},
		{"text", regexp.MustCompile(`^time=\S+ level=(DEBUG|INFO|WARN|ERROR) msg=`)},
	} {
		t.Run(format.name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, settings map[string]string) {
				ctx := harness.Within(t, time.Minute)
				settings["log-level"], settings["log-format"], settings["retry-schedule"] = "debug", format.name, "100ms,1h"
				prosa := start(t, harness.Spec{Settings: settings})
				client := clientOf(t, prosa)
				receiver := receive(t, func(harness.Delivery) (int, string) { return http.StatusTeapot, plantedAnswer })
				setup, err := client.Create(ctx, fmt.Sprintf("faults-%d", instances.Add(1)), careless, receiver.URL+"/"+plantedURLPart, true)
				require.NoError(t, err)
				deaf := map[string]any{"displayName": plantedWord, "agentId": setup.AgentID, "webhookUrl": "http://127.0.0.1:1/" + plantedURLPart, "inboundToken": plantedToken}
				var second struct{ ID, SigningSecret string }
				require.NoError(t, client.Call(ctx, http.MethodPost, "/v1/instances/"+setup.Instance+"/channels", deaf, &second))

				var bot struct{ ID, Token, SigningSecret string }
				deaf = map[string]any{
					"displayName": plantedWord, "agentId": setup.AgentID, "callbackUrl": "http://127.0.0.1:1/" + plantedURLPart, "callbackToken": plantedToken,
					"includeContext": true,
				}
				require.NoError(t, client.Call(ctx, http.MethodPost, "/v1/instances/"+setup.Instance+"/botApis", deaf, &bot))

				for _, text := range []string{plantedText, "1", plantedWord + plantedWord, plantedCPF} {
					say(ctx, t, client, setup.ChannelID, nasty, text)
				}
				for _, request := range append(misuses(setup, second.ID), botMisuses(setup, bot.ID, bot.Token)...) {
					send(t, client, request)
				}
				misuseGRPC(t, prosa, setup)
				require.NoError(t, receiver.WaitCount(ctx, 1))
				untilMetrics(ctx, t, prosa, func(values map[string]float64) bool {
					return values[`prosa_channel_turns_total{outcome="answered"}`]+values[`prosa_channel_turns_total{outcome="set_aside"}`] >= 5 &&
						values[`prosa_channel_delivery_attempts_total{outcome="connect"}`] >= 1 &&
						values[`prosa_channel_delivery_attempts_total{outcome="status"}`] >= 1
				})
				_, shown, err := get(ctx, t, prosa.Metrics+"/metrics")
				require.NoError(t, err)
				require.NoError(t, prosa.Stop())

				log := prosa.Output()
				require.Contains(t, log, "DEBUG", "everything was logged")
				require.Less(t, len(log), 250<<10, "the beginning of the log is lost: log less here, or keep more in the harness")
				for _, planted := range []string{
					plantedWord, plantedCPF, "forged", setup.Key, setup.Key[len(setup.Key)-20:], setup.SigningSecret, second.SigningSecret, bot.Token, bot.SigningSecret,
					strings.TrimPrefix(setup.SigningSecret, "whsec_"), harness.RootKey, harness.SecretKey,
				} {
					require.NotContains(t, shown, planted, "a metric shows it")
					for line := range strings.Lines(log) {
						require.NotContains(t, line, planted, "a line shows it")
					}
				}
				for line := range strings.Lines(log) {
					line = strings.TrimSuffix(line, "\n")
					require.Regexp(t, format.line, line)
					require.NotRegexp(t, `[\x00-\x1f\x7f\x{80}-\x{9f}\x{2028}\x{2029}]`, line, "a line with something that is not to be printed")
				}
			})
		})
	}
}

// misuse is a request that somebody should not have made.
type misuse struct {
	method, path, contentType, body string
	headers                         map[string]string
}

// misuses are requests with planted words in every place that a request has.
func misuses(setup harness.Setup, withToken string) []misuse {
	message := func(channel, identifier, text string) string {
		body, err := json.Marshal(map[string]string{"channelId": channel, "clientIdentifier": identifier, "type": "text", "text": text})
		if err != nil {
			panic(err) // strings have a JSON form
		}
		return string(body)
	}
	const inbound, asJSON = "/webhooks/api", "application/json"
	key := map[string]string{"Authorization": "Bearer " + setup.Key, "x-api-key": setup.Key}
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	instance := "/v1/instances/" + setup.Instance
	return []misuse{
		{http.MethodPost, inbound, asJSON, message(withToken, nasty, plantedText), bearer(plantedToken)},
		{http.MethodPost, inbound, asJSON, message(withToken, nasty, plantedText), bearer(plantedToken + "x")},
		{http.MethodPost, inbound, asJSON, message(setup.ChannelID, plantedWord, plantedText), map[string]string{"Idempotency-Key": plantedWord}},
		{http.MethodPost, inbound, asJSON, message(setup.ChannelID, plantedWord, plantedText+"!"), map[string]string{"Idempotency-Key": plantedWord}},
		{http.MethodPost, inbound, asJSON, message("0123456789abcdef01234567", nasty, plantedText), nil},
		{http.MethodPost, inbound, asJSON, message(plantedWord, nasty, plantedText), nil},
		{http.MethodPost, inbound, asJSON, `{"text":"` + plantedText, nil},
		{http.MethodPost, inbound, asJSON, `{"` + plantedWord + `":1,"text":["` + plantedText + `"]}`, nil},
		{http.MethodPost, inbound, asJSON, message(setup.ChannelID, plantedWord, strings.Repeat(plantedWord, 30000)), nil},
		{http.MethodPost, inbound, "text/" + plantedWord, plantedText, nil},
		{plantedWord, inbound, asJSON, plantedText, nil},
		{http.MethodPost, "/" + plantedWord + "/" + plantedCPF + "?said=" + plantedWord, asJSON, plantedText, key},
		{http.MethodGet, instance + "/channels/" + plantedWord + "?pageToken=" + plantedWord, "", "", key},
		{http.MethodGet, instance + "/channels?pageToken=" + plantedWord + "&" + plantedWord + "=1", "", "", key},
		{http.MethodGet, instance + "/channels", "", "", bearer(plantedToken)},
		{http.MethodGet, instance + "/channels", "", "", bearer(setup.Key[:len(setup.Key)-1] + "x")},
		{http.MethodGet, instance + "/channels", "", "", map[string]string{"Authorization": "Basic " + plantedWord}},
		{http.MethodGet, "/v1/instances/" + plantedWord + "/channels", "", "", key},
		{http.MethodPost, instance + "/agents", asJSON, `{"definition":"displayName: ` + plantedWord + `\nnodes: {` + plantedWord + `: {goto: ` + plantedWord + `}}"}`, key},
		{http.MethodPost, instance + "/channels", asJSON, `{"agentId":"` + setup.AgentID + `","webhookUrl":"https://` + plantedWord + `:pw@example.com/"}`, key},
		{http.MethodPost, "/contacts/" + setup.Instance, asJSON, `{"attributes":{"cpf":"` + plantedCPF + `","email":"` + plantedWord + `"}}`, key},
		{http.MethodPost, "/contacts/" + setup.Instance, asJSON, `{"filters":{"startDate":"` + plantedWord + `","limit":"` + plantedWord + `"},"pagination":"` + plantedWord + `"}`, key},
		{http.MethodPost, "/contacts/" + plantedWord, asJSON, `{}`, key},
		{http.MethodPost, "/events/" + setup.Instance, asJSON, `{"filters":{"identifier":"` + plantedWord + `","eventName":"` + plantedWord + `","startDate":"` + plantedWord + `"}}`, key},
		{http.MethodPost, "/events/" + setup.Instance, asJSON, `{"filters":{"identifier":"` + plantedWord + `","externalId":"` + plantedCPF + `"}}`, key},
		{http.MethodPost, instance + "/attendances:import", asJSON, `{"attendances":[{"externalId":"` + plantedWord + `","identifier":"` + plantedWord + `","attributes":{"` + plantedWord + `":"` + plantedCPF + `"}}]}`, key},
		{http.MethodPost, instance + "/attendances:import", asJSON, `{"attendances":[{"externalId":"` + plantedWord + `","identifier":"` + plantedWord + `","assistantId":1,"source":"widget","createTime":"2020-06-01T00:00:00Z",` +
			`"attributes":{"name":"` + plantedWord + `","cpf":"` + plantedCPF + `"},"history":[{"time":"2020-06-01T00:00:00Z","sender":"user","messages":[{"text":{"text":"` + plantedText + `"}}]}],` +
			`"events":[{"time":"2020-06-01T00:00:00Z","eventName":"` + plantedWord + `","details":{"` + plantedWord + `":"` + plantedText + `"}}]}]}`, key},
		{http.MethodPost, "/contacts/" + setup.Instance, asJSON, `{}`, map[string]string{"x-api-key": plantedToken}},
		{http.MethodGet, instance, "", "", map[string]string{"Authorization": "Bearer " + setup.Key, "X-Request-Id": plantedWord + " \t" + plantedCPF, "User-Agent": plantedWord, "Traceparent": plantedWord}},
	}
}

// botMisuses are the same for the Bot API.
func botMisuses(setup harness.Setup, id, token string) []misuse {
	path, right := "/"+setup.Instance+"/api/"+id, map[string]string{"Authorization": token}
	const asJSON, said = "application/json", `{"identifier":"` + plantedWord + `","input":{"text":"` + plantedText + `"},"context":{"` + plantedWord + `":"` + plantedCPF + `"}}`
	return []misuse{
		{http.MethodPost, path, asJSON, said, right},
		{http.MethodPost, path, asJSON, said, map[string]string{"Authorization": token + "x"}},
		{http.MethodPost, path, asJSON, said, map[string]string{"Authorization": plantedToken}},
		{http.MethodPost, path, asJSON, `{"identifier":"` + plantedWord + `","context":"` + plantedCPF + `"}`, right},
		{http.MethodPost, path, asJSON, `{"context":{"` + plantedWord, right},
		{http.MethodPost, path + plantedWord, asJSON, said, right},
		{http.MethodPost, "/" + plantedWord + "/api/" + id, asJSON, said, right},
	}
}

// send makes a request whatever comes of it; an answer must come.
func send(t *testing.T, client *harness.Client, m misuse) {
	t.Helper()
	request, err := http.NewRequestWithContext(callWithin(t), m.method, client.Base+m.path, strings.NewReader(m.body))
	require.NoError(t, err)
	if m.contentType != "" {
		request.Header.Set("Content-Type", m.contentType)
	}
	for name, value := range m.headers {
		request.Header.Set(name, value)
	}
	response, err := client.HTTP.Do(request)
	require.NoError(t, err, "%s %s", m.method, m.path)
	require.NoError(t, response.Body.Close())
	require.NotEqual(t, http.StatusInternalServerError, response.StatusCode, "%s %s", m.method, m.path)
}

// misuseGRPC calls with planted words, past the gateway.
func misuseGRPC(t *testing.T, prosa *harness.Process, setup harness.Setup) {
	t.Helper()
	conn, err := grpc.NewClient(prosa.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	for _, pair := range [][]string{
		nil, {"authorization", "Bearer " + plantedToken}, {"authorization", plantedWord}, {"x-request-id", plantedText}, {"idempotency-key", plantedWord + strings.Repeat("x", 300)},
	} {
		ctx := metadata.AppendToOutgoingContext(callWithin(t), pair...)
		client := channelv1.NewInboundServiceClient(conn)
		_, err := client.ReceiveMessage(ctx, &channelv1.ReceiveMessageRequest{ChannelId: setup.ChannelID, ClientIdentifier: nasty, Type: plantedWord, Text: plantedText})
		require.Error(t, err)
		_, err = channelv1.NewChannelServiceClient(conn).GetChannel(ctx, &channelv1.GetChannelRequest{Instance: setup.Instance, Id: plantedWord})
		require.Error(t, err)
		require.Error(t, conn.Invoke(ctx, "/"+plantedWord+"/"+plantedCPF, &channelv1.GetChannelRequest{}, &channelv1.GetChannelResponse{}))
	}
}

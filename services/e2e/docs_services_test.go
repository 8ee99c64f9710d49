package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestServiceDocuments runs every block of commands in the documents of the
// services against an instance as they speak of: loja, with a conversation that
// people have. A call that is refused fails.
func TestServiceDocuments(t *testing.T) {
	ctx := harness.Within(t, 2*stepWithin)
	prosa := start(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir()}})
	client, receiver := clientOf(t, prosa), receive(t, nil)
	loja, err := client.Create(ctx, "loja", handsOver, receiver.URL, false)
	require.NoError(t, err)
	say(ctx, t, client, loja.ChannelID, "user-1", "oi")
	require.NoError(t, receiver.WaitCount(ctx, 1))
	known := map[string]any{"filters": map[string]any{"identifier": "user-1"}}
	require.Eventually(t, func() bool { return client.Call(ctx, http.MethodPost, "/contacts/loja", known, nil) == nil }, stepWithin, queryPause)
	january := map[string]any{"attendances": []any{map[string]any{
		"externalId": "january", "identifier": "user-2", "assistantId": 1, "source": "whatsapp", "createTime": "2026-01-15T12:00:00Z",
		"events": []any{map[string]any{"time": "2026-01-15T12:00:00Z", "eventName": "transbordo"}},
	}}}
	require.NoError(t, client.Call(ctx, http.MethodPost, "/v1/instances/loja/attendances:import", january, nil))

	as := strings.NewReplacer(
		"http://127.0.0.1:8080", prosa.HTTP, "localhost:8080", prosa.HTTP,
		"$(cat data/root.key)", harness.RootKey, "'Authorization: Bearer …'", "'Authorization: Bearer "+loja.Key+"'",
		"channels/64a1…", "channels/"+loja.ChannelID, "attendances/3213", "attendances/1", `"slug":"loja"`, `"slug":"other"`,
		"whsec_…", loja.SigningSecret, "curl ", "curl -sS --fail-with-body ",
	)
	documents, err := filepath.Glob(filepath.Join(repository, "services/*/README.md"))
	require.NoError(t, err)
	blocks := 0
	for _, document := range documents {
		content, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(content), -1) {
			blocks++
			commands := as.Replace(block[1])
			env := freeAddrs(t)
			env["PROSA_PORT"] = "0" // of prosa listen
			env["KEY"], env["PATH"] = loja.Key, filepath.Dir(binary)+":"+os.Getenv("PATH")
			folder := repository
			if strings.Contains(commands, "prosa serve") {
				folder = t.TempDir() // for the data
			}
			script := runScript(t, folder, commands, env)
			if strings.Contains(commands, "prosa listen") { // until it is told to stop
				require.Eventually(t, func() bool { return strings.Contains(script.output(), "Receiving webhooks") }, stepWithin, queryPause)
				script.stop()
				continue
			}
			require.NoError(t, script.wait(), "%s: %s\n%s", document, commands, script.output())
		}
	}
	require.GreaterOrEqual(t, blocks, 11)
}

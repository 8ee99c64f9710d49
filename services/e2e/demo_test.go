package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestDemo starts the demonstration as the README says, and pastes every line
// that it prints; a second start finds the first one's data.
func TestDemo(t *testing.T) {
	folder := t.TempDir()
	first := runDemo(t, folder)
	second := runDemo(t, folder)
	require.Equal(t, channelOf(t, first), channelOf(t, second), "the second start uses the first one's channel")
	require.Equal(t, keyOf(t, first), keyOf(t, second), "and its key")
}

// TestDemoElsewhere shows a gateway that is there, over whatever has become of
// what an earlier start made and knew.
func TestDemoElsewhere(t *testing.T) {
	ctx := harness.Within(t, 2*stepWithin)
	prosa := start(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir()}})
	client := clientOf(t, prosa)
	folder := t.TempDir()
	state := filepath.Join(folder, "demo.json")
	show := func() string {
		t.Helper()
		env := freeAddrs(t)
		env["PROSA_DATA_DIR"], env["PROSA_GATEWAY_URL"] = folder, prosa.HTTP+"/"
		demo := runScript(t, folderWithBinary(t), "exec ./prosa demo", env)
		awaitHealthy(t, demo, env["PROSA_METRICS_ADDR"])
		shown := demo.output()
		demo.stop()
		require.NoError(t, demo.wait())
		requireAnswered(t, shown)
		pasteLines(ctx, t, shown)
		return shown
	}
	count := func(collection string) int {
		var page map[string]any
		require.NoError(t, client.Call(ctx, http.MethodGet, "/v1/instances/demo/"+collection, nil, &page))
		return len(page[collection].([]any))
	}

	channels := map[string]bool{}
	for i, become := range []func(){
		func() { // nothing is known of another gateway's
			require.NoError(t, os.WriteFile(state, []byte(`{"agent":{"id":"aaaaaaaaaaaaaaaaaaaaaaaa"},"channel":{"id":"bbbbbbbbbbbbbbbbbbbbbbbb"},`+
				`"botApi":{"id":"cccccccccccccccccccccccc"},"apiKey":{"id":"dddddddddddddddddddddddd","key":"psk_x"},"receiverAddr":"nowhere"}`), 0o600))
		},
		func() { // somebody has deleted everything
			var made map[string]any
			content, err := os.ReadFile(state)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(content, &made))
			var keys struct{ APIKeys []struct{ ID string } }
			require.NoError(t, client.Call(ctx, http.MethodGet, "/v1/instances/demo/apiKeys", nil, &keys))
			require.Len(t, keys.APIKeys, 1)
			deleted := []string{"apiKeys/" + keys.APIKeys[0].ID}
			for collection, name := range map[string]string{"agents": "agent", "channels": "channel", "botApis": "botApi"} {
				deleted = append(deleted, collection+"/"+made[name].(map[string]any)["id"].(string))
			}
			slices.SortFunc(deleted, func(a, b string) int { return strings.Compare(b, a) }) // the agent after those that name it
			for _, path := range deleted {
				require.NoError(t, client.Call(ctx, http.MethodDelete, "/v1/instances/demo/"+path, nil, nil), path)
			}
		},
		func() { require.NoError(t, os.Remove(state)) }, // the folder is lost
	} {
		become()
		channels[channelOf(t, show())] = true
		require.Len(t, channels, min(i+1, 2), "one that is there is found")
		for _, collection := range []string{"agents", "channels", "botApis", "apiKeys"} {
			require.Equal(t, 1, count(collection), "%s after start %d", collection, i+1)
		}
		info, err := os.Stat(state)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds keys")
	}
}

// runDemo gives what the demonstration printed until it was up.
func runDemo(t *testing.T, folder string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*stepWithin)
	defer cancel()
	args := []string{"demo", "--data-dir=" + folder}
	for _, name := range []string{"http-addr", "grpc-addr", "metrics-addr"} {
		addr, err := harness.FreeAddr()
		require.NoError(t, err)
		args = append(args, "--"+name+"="+addr)
	}
	command := exec.CommandContext(ctx, binary, args...)
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	var log strings.Builder
	command.Stderr = &log
	require.NoError(t, command.Start())

	lines := bufio.NewReader(output)
	var shown strings.Builder
	for !strings.Contains(shown.String(), "Stop with Ctrl-C") {
		line, err := lines.ReadString('\n')
		shown.WriteString(line)
		require.NoError(t, err, "%s\n%s", shown.String(), log.String())
	}
	requireAnswered(t, shown.String())
	pasteLines(ctx, t, shown.String())
	for callback := ""; !strings.Contains(callback, `"output":[`); {
		callback, err = lines.ReadString('\n')
		require.NoError(t, err)
		require.NotContains(t, callback, "signature", "the signature was right")
	}

	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	_, err = io.Copy(io.Discard, lines)
	require.NoError(t, err)
	require.NoError(t, command.Wait(), log.String())
	require.Empty(t, log.String(), "nothing went wrong")
	return shown.String()
}

// requireAnswered checks that the first answer arrived, signed rightly.
func requireAnswered(t *testing.T, shown string) {
	t.Helper()
	require.Contains(t, shown, `"text":"Como posso ajudar?"`, "the answer arrived")
	require.NotContains(t, shown, "signature", "the signature was right")
}

// pasteLines runs every line that the demonstration shows.
func pasteLines(ctx context.Context, t *testing.T, shown string) {
	t.Helper()
	pasted := 0
	for line := range strings.Lines(shown) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		answer, err := exec.CommandContext(ctx, "sh", "-c", line).Output()
		require.NoError(t, err, line)
		_, body, found := strings.Cut(string(answer), "\r\n\r\n") // curl -i shows the headers
		if found {
			require.Contains(t, string(answer), "200 OK", line)
		} else {
			body = string(answer)
		}
		pasted++
		if strings.Contains(line, "/conversation/stream/") {
			require.Contains(t, body, "\n\nComo posso ajudar?\n1. ", "the answer as text")
			continue
		}
		var value map[string]any
		require.NoError(t, json.Unmarshal([]byte(body), &value), "%s\n%s", line, answer)
		for _, wrong := range []string{"invalidParams", "detail"} {
			require.NotContains(t, value, wrong, line)
		}
	}
	require.Equal(t, 7, pasted)
}

// channelOf is the channel that the printed lines name.
func channelOf(t *testing.T, shown string) string {
	t.Helper()
	_, rest, found := strings.Cut(shown, `"channelId":"`)
	require.True(t, found)
	return rest[:24]
}

// keyOf is the API key that the printed lines have.
func keyOf(t *testing.T, shown string) string {
	t.Helper()
	_, rest, found := strings.Cut(shown, "PROSA_KEY=")
	require.True(t, found)
	key, _, _ := strings.Cut(rest, " ")
	return key
}

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// repository is the root of the repository.
const repository = "../.."

// shellBlocks are the commands in the documents, by the first line of their
// block: what exercises them. TestDocumentedCommands finds the blocks itself.
var shellBlocks = map[string]func(t *testing.T, block string){
	"go run ./services/cmd/prosa demo":                                                                      func(*testing.T, string) {}, // TestDemo runs it, and all that it prints
	"go test work":                                                                                          func(*testing.T, string) {}, // is running
	"go build -o prosa ./services/cmd/prosa":                                                                runBuildAndServe,
	"export PROSA_DATABASE_URL='postgres://prosa@localhost/prosa'":                                          runOnPostgres,
	"./prosa listen --port 8090 --secret whsec_… --fail-rate 0.2 --delay 500ms":                             runListen,
	"./prosa backup prosa.tar":                                                                              runBackup,
	"./prosa restore prosa.tar --data-dir=./data":                                                           runRestore,
	"export PROSA_ROOT_KEY='…'   # 32 or more characters":                                                   runDemoElsewhere,
	"prosa agent check deploy/examples/agents/assistente.yaml":                                              runInRepository,
	`curl -X PUT localhost:8080/v1/instances/loja/secrets/openai -H "Authorization: Bearer $KEY" \`:         runPutSecret,
	"go run ./services/e2e/bench":                                                                           func(*testing.T, string) {}, // takes an hour
	"./prosa serve accounts --insecure-internal --grpc-addr=127.0.0.1:9091 --metrics-addr=127.0.0.1:9191 &": runFiveRoles,
}

// TestDocumentedCommands runs every block of commands that the documents tell
// an operator to type; a block that nothing here knows fails.
func TestDocumentedCommands(t *testing.T) {
	for _, document := range []string{"README.md", "deploy/README.md", "deploy/examples/README.md", "services/e2e/bench/README.md"} {
		content, err := os.ReadFile(filepath.Join(repository, document))
		require.NoError(t, err)
		blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(content), -1)
		require.NotEmpty(t, blocks, document)
		for i, block := range blocks {
			t.Run(fmt.Sprintf("%s %d", document, i+1), func(t *testing.T) {
				first, _, _ := strings.Cut(block[1], "\n")
				run := shellBlocks[first]
				require.NotNil(t, run, "nothing exercises the block that begins with %q: say in shellBlocks what does", first)
				run(t, block[1])
			})
		}
	}
}

// runBuildAndServe builds as written, only that the binary goes to an empty
// folder, and serves there: the first start makes the keys.
func runBuildAndServe(t *testing.T, block string) {
	folder, err := filepath.Abs(t.TempDir())
	require.NoError(t, err)
	build, serve, found := strings.Cut(block, "\n")
	require.True(t, found)
	built := runScript(t, repository, replaced(t, build, "-o prosa", "-o "+folder+"/prosa"), nil)
	require.NoError(t, built.wait(), built.output())

	env := freeAddrs(t)
	delete(env, "PROSA_ROOT_KEY")
	script := runScript(t, folder, serve, env)
	awaitHealthy(t, script, env["PROSA_METRICS_ADDR"])
	key := readKey(t, filepath.Join(folder, "data", "root.key"))
	readKey(t, filepath.Join(folder, "data", "secret.key"))
	require.Equal(t, 1, strings.Count(script.output(), key), "the root key is printed once")
	request, err := http.NewRequestWithContext(callWithin(t), http.MethodGet, "http://"+env["PROSA_HTTP_ADDR"]+"/v1/instances", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	script.stop()

	second := runScript(t, folder, serve, env)
	awaitHealthy(t, second, env["PROSA_METRICS_ADDR"])
	require.NotContains(t, second.output(), key, "and never again")
	require.Equal(t, key, readKey(t, filepath.Join(folder, "data", "root.key")))
}

// readKey reads a key file, which must be the owner's alone.
func readKey(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.TrimSpace(string(content))
}

// runOnPostgres does as written, with a database and a key that exist.
func runOnPostgres(t *testing.T, block string) {
	block = replaced(t, block, "postgres://prosa@localhost/prosa", testkit.Postgres(t))
	block = replaced(t, block, "'…'", "'"+harness.SecretKey+"'")
	env := freeAddrs(t)
	script := runScript(t, folderWithBinary(t), block, env)
	awaitHealthy(t, script, env["PROSA_METRICS_ADDR"])
	sendAndReceive(t, env["PROSA_HTTP_ADDR"])
}

// runFiveRoles starts a process a role as written, on free ports.
func runFiveRoles(t *testing.T, block string) {
	env := freeAddrs(t)
	delete(env, "PROSA_GRPC_ADDR")
	delete(env, "PROSA_METRICS_ADDR")
	given := map[string]string{}
	block = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`).ReplaceAllStringFunc(block, func(addr string) string {
		if given[addr] == "" {
			free, err := harness.FreeAddr()
			require.NoError(t, err)
			given[addr] = free
		}
		return given[addr]
	})
	script := runScript(t, folderWithBinary(t), block+"wait\n", env)
	roles := regexp.MustCompile(`--metrics-addr=(\S+)`).FindAllStringSubmatch(block, -1)
	require.Len(t, roles, len(harness.Roles))
	for _, role := range roles {
		awaitHealthy(t, script, role[1])
	}
	sendAndReceive(t, env["PROSA_HTTP_ADDR"])
}

// runDemoElsewhere starts a gateway and its demonstration as written, on free
// ports.
func runDemoElsewhere(t *testing.T, block string) {
	env := freeAddrs(t)
	for _, name := range []string{"PROSA_ROOT_KEY", "PROSA_EGRESS_ALLOW", "PROSA_EGRESS_HTTP"} {
		delete(env, name) // are in the block
	}
	operations, err := harness.FreeAddr()
	require.NoError(t, err)
	block = replaced(t, block, "'…'", "'"+harness.RootKey+"'")
	block = replaced(t, block, "127.0.0.1:8080", env["PROSA_HTTP_ADDR"])
	block = replaced(t, block, "127.0.0.1:9465", operations)
	script := runScript(t, folderWithBinary(t), block, env)
	awaitHealthy(t, script, operations)
	requireAnswered(t, script.output())
}

// runInRepository runs commands that end by themselves as written, with the
// binary on the PATH.
func runInRepository(t *testing.T, block string) {
	script := runScript(t, repository, block, map[string]string{"PATH": filepath.Dir(binary) + ":" + os.Getenv("PATH")})
	require.NoError(t, script.wait(), script.output())
}

// runPutSecret stores a secret as written, in an instance of that name.
func runPutSecret(t *testing.T, block string) {
	prosa := start(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir()}})
	instance := map[string]any{"slug": "loja", "displayName": "Loja"}
	require.NoError(t, clientOf(t, prosa).Call(callWithin(t), http.MethodPost, "/v1/instances", instance, nil))
	block = replaced(t, replaced(t, block, "localhost:8080", strings.TrimPrefix(prosa.HTTP, "http://")), "curl ", "curl -sS --fail-with-body ")
	script := runScript(t, t.TempDir(), block, map[string]string{"KEY": harness.RootKey})
	require.NoError(t, script.wait(), script.output())
	require.Contains(t, script.output(), `"name":"openai"`)
}

// runListen has a channel deliver to `prosa listen` with the channel's secret:
// it says that the signatures are right; with another secret, that they are not.
func runListen(t *testing.T, block string) {
	ctx := harness.Within(t, time.Minute)
	prosa := start(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir(), "retry-schedule": quickRetries}})
	client := clientOf(t, prosa)
	for name, listening := range map[string]struct {
		secret string // empty is the channel's
		want   string
	}{
		"the channel's secret": {"", `(?m)^<- 200 #1 [0-9a-f]{24}\n   \{.*"text":"eco: hello"`},
		"another secret":       {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `(?m)^<- 401 \(.*signature.*\) #1 `},
	} {
		t.Run(name, func(t *testing.T) {
			addr, err := harness.FreeAddr()
			require.NoError(t, err)
			setup := setUp(ctx, t, client, "http://"+addr+"/")
			secret := listening.secret
			if secret == "" {
				secret = setup.SigningSecret
			}
			command := replaced(t, replaced(t, block, "8090", strings.TrimPrefix(addr, "127.0.0.1:")), "whsec_…", secret)
			script := runScript(t, folderWithBinary(t), command, nil)
			require.Eventually(t, func() bool { return strings.Contains(script.output(), "verifying signatures: true") }, stepWithin, 10*time.Millisecond)
			say(ctx, t, client, setup.ChannelID, "person", "hello")
			wanted := regexp.MustCompile(listening.want)
			require.Eventually(t, func() bool { return wanted.MatchString(script.output()) }, stepWithin, 10*time.Millisecond, "%s", lazily(script.output))
		})
	}
}

// sendAndReceive has a message answered by the gateway at an address.
func sendAndReceive(t *testing.T, addr string) {
	t.Helper()
	ctx := harness.Within(t, stepWithin)
	client, receiver := harness.NewClient("http://"+addr), receive(t, nil)
	t.Cleanup(client.Close)
	setup := setUp(ctx, t, client, receiver.URL)
	say(ctx, t, client, setup.ChannelID, "person", "hello")
	require.NoError(t, receiver.WaitCount(ctx, 1))
	require.Contains(t, string(receiver.All()[0].Body), `"text":"eco: hello"`)
	query := map[string]any{"filters": map[string]any{"identifier": "person"}}
	require.Eventually(t, func() bool { return client.Call(ctx, http.MethodPost, "/contacts/"+setup.Instance, query, nil) == nil }, stepWithin, queryPause)
}

// awaitHealthy waits until `prosa healthcheck` exits 0.
func awaitHealthy(t *testing.T, script *script, metricsAddr string) {
	t.Helper()
	healthy := func() bool { return runProsa(t, nil, "healthcheck", "--metrics-addr="+metricsAddr).code == 0 }
	require.Eventually(t, healthy, 2*stepWithin, 50*time.Millisecond, "%s", lazily(script.output))
}

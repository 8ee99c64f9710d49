package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prosa runs a command line.
func prosa(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestVersion(t *testing.T) {
	code, out, _ := prosa(t, "version")
	require.Zero(t, code)
	require.Regexp(t, `^prosa devel \(.+, go1\..+\)\n$`, out)
}

func TestConfigShowsWhatIsInForce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prosa.yaml")
	require.NoError(t, os.WriteFile(file, []byte("log-level: warn\nhttp-addr: 127.0.0.1:1\n"), 0o600))
	t.Setenv("PROSA_LOG_LEVEL", "debug")
	code, out, stderr := prosa(t, "--config="+file, "config", "--root-key="+strings.Repeat("k", 32))
	require.Zero(t, code, stderr)
	require.Contains(t, out, "log-level: \"debug\"\n")
	require.Contains(t, out, "http-addr: \"127.0.0.1:1\"\n")
	require.Contains(t, out, "root-key: \"********\"\n")
}

func TestUnknownSettingsAndCommandsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prosa.yaml")
	require.NoError(t, os.WriteFile(file, []byte("log-lvl: warn\n"), 0o600))
	for _, args := range [][]string{
		{"--config=" + file, "config"},
		{"config", "--nothing"},
		{"nothing"},
		{"serve", "nobody"},
		{"listen", "--fail-rate=1.1"},
		{"listen", "--fail-rate=NaN"},
		{"listen", "--fail-first=-1"},
		{"listen", "--delay=-1s"},
		{"listen", "--slow=-1s"},
		{"listen", "--status=199"},
		{"listen", "--status=200,600"},
		{"listen", "--status=500", "--drop"},
		{"listen", "--body=x", "--slow=1s"},
		{"listen", "--retry-after=a\nb"},
		{"demo", "--gateway-url=http://gateway:8080"},
		{"demo", "--gateway-url=gateway:8080", "--root-key=" + strings.Repeat("k", 32)},
		{"demo", "--public-url=ftp://gateway"},
		{"demo", "--receiver-url=http://receiver/"},
		{"demo", "--receiver-addr=:1", "--receiver-url=receiver"},
		{"demo", "--receiver-addr=receiver"},
		{"demo", "--secret-key=short"},
	} {
		code, _, stderr := prosa(t, args...)
		require.Equal(t, 2, code, args)
		require.Contains(t, stderr, "prosa:")
	}
}

func TestServeRefusesRolesApartInTheClear(t *testing.T) {
	code, _, stderr := prosa(t, "serve", "channel", "--data-dir="+t.TempDir())
	require.Equal(t, 1, code)
	for _, want := range []string{"accounts-target", "agent-target", "tls-cert"} {
		require.Contains(t, stderr, want, "all faults at once")
	}
}

func TestAgentCheckReportsEveryFault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.yaml")
	require.NoError(t, os.WriteFile(file, []byte("displayName: X\nfallback: a\nnodes:\n  a: {goto: b}\n  c: {say: [{text: \"{{ 1 + }}\"}]}\n"), 0o600))
	code, out, _ := prosa(t, "agent", "check", "loja.yaml", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "loja.yaml: ok\n")
	require.Contains(t, out, file+":4:")
	require.Contains(t, out, file+":5:")
}

func TestTheDemosAgentIsTheExample(t *testing.T) {
	example, err := os.ReadFile("../../../deploy/examples/loja.yaml")
	require.NoError(t, err)
	require.Equal(t, string(example), demoAgent)
}

func TestHealthcheckFailsWhenNothingListens(t *testing.T) {
	code, _, stderr := prosa(t, "healthcheck", "--metrics-addr=127.0.0.1:1")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "/readyz")
}

func TestWhatListensEverywhereIsReachedOnLoopback(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", ":1": "127.0.0.1:1", "[::1]:1": "[::1]:1", "gateway:1": "gateway:1",
	} {
		got, err := fromHere(addr)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := fromHere("gateway")
	require.Error(t, err)
}

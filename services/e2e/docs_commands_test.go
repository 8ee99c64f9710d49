package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestCommands runs the commands that end by themselves.
func TestCommands(t *testing.T) {
	root, err := filepath.Abs(repository)
	require.NoError(t, err)
	examples, err := filepath.Glob(filepath.Join(root, "deploy/examples/*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	faulty := file("faulty.yaml", "displayName: X\nfallback: nowhere\nnodes:\n  a: {goto: b}\n")
	unknown := file("unknown.yaml", "log-level: warn\nlog-colour: red\n")
	settings := file("settings.yaml", "log-level: warn\negress-allow: [10.0.0.0/8, 192.168.0.0/16]\negress-http: true\n")
	nobody, err := harness.FreeAddr()
	require.NoError(t, err)

	for name, test := range map[string]struct {
		args []string
		env  map[string]string
		code int
		// out and err are what is printed; each line of them.
		out, err []string
	}{
		"version":                  {args: []string{"version"}, out: []string{"prosa ", "go1."}},
		"agent check":              {args: append([]string{"agent", "check"}, examples...), out: []string{"loja.yaml: ok"}},
		"agent check, with faults": {args: []string{"agent", "check", faulty}, code: 1, out: []string{"faulty.yaml:2:11: fallback: ", "faulty.yaml:4:"}},
		"agent check, no file":     {args: []string{"agent", "check", folder + "/none.yaml"}, code: 1, err: []string{"read definition"}},
		"config": {
			args: []string{"config"}, env: map[string]string{"PROSA_ROOT_KEY": harness.RootKey, "PROSA_LOG_LEVEL": "error"},
			out: []string{`root-key: "********"`, `log-level: "error"`, `data-dir: "./data"`},
		},
		"config, of a file": {
			args: []string{"config", "--config=" + settings},
			out:  []string{`log-level: "warn"`, `egress-allow: "10.0.0.0/8,192.168.0.0/16"`, "egress-http: true"},
		},
		"config, flags win over the environment and that over a file": {
			args: []string{"config", "--config=" + settings, "--egress-allow=10.0.0.0/8"}, env: map[string]string{"PROSA_LOG_LEVEL": "error"},
			out: []string{`log-level: "error"`, `egress-allow: "10.0.0.0/8"`},
		},
		"config, unknown names":          {args: []string{"config", "--config=" + unknown}, code: 2, err: []string{"log-colour"}},
		"healthcheck, nobody there":      {args: []string{"healthcheck", "--metrics-addr=" + nobody}, code: 1, err: []string{"/readyz"}},
		"healthcheck, live, nobody":      {args: []string{"healthcheck", "--live", "--metrics-addr=" + nobody}, code: 1, err: []string{"/livez"}},
		"serve, roles without transport": {args: []string{"serve", "accounts"}, code: 1, err: []string{"tls-cert", "insecure-internal"}},
		"serve, roles without targets":   {args: []string{"serve", "gateway", "--insecure-internal"}, code: 1, err: []string{"accounts-target", "channel-target"}},
		"serve, an unknown role":         {args: []string{"serve", "nothing"}, code: 2, err: []string{"nothing"}},
		"serve, PostgreSQL without key":  {args: []string{"serve", "--database-url=postgres://x:swordfish@127.0.0.1/x"}, code: 2, err: []string{"secret-key"}},
		"serve, a short key":             {args: []string{"serve", "--root-key=swordfish"}, code: 2, err: []string{"root-key", "32"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := runProsa(t, test.env, test.args...)
			require.Equal(t, test.code, got.code, "%s%s", got.out, got.err)
			for _, want := range test.out {
				require.Contains(t, got.out, want)
			}
			for _, want := range test.err {
				require.Contains(t, got.err, want)
			}
			for _, secret := range []string{harness.RootKey, "swordfish"} {
				require.NotContains(t, got.out+got.err, secret)
			}
		})
	}
}

// TestHelpNamesEverySetting compares what `prosa serve --help` lists with what
// `prosa config` prints, and that with what a file may hold.
func TestHelpNamesEverySetting(t *testing.T) {
	help, printed := runProsa(t, nil, "serve", "--help"), runProsa(t, nil, "config")
	require.Zero(t, help.code)
	for line := range strings.Lines(printed.out) {
		name, _, _ := strings.Cut(line, ":")
		require.Regexp(t, `--(\[no-\])?`+name+`\b`, help.out)
	}
	path := filepath.Join(t.TempDir(), "all.yaml")
	require.NoError(t, os.WriteFile(path, []byte(printed.out), 0o600))
	require.Equal(t, printed.out, runProsa(t, nil, "config", "--config="+path).out)
}

// TestHealthcheckOfAProcess asks a process that is ready, and one that is up
// and waits for its store.
func TestHealthcheckOfAProcess(t *testing.T) {
	ready := start(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir()}})
	nobody, err := harness.FreeAddr()
	require.NoError(t, err)
	waiting := launch(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir(), "database-url": "postgres://prosa:swordfish@" + nobody + "/prosa"}})
	until(harness.Within(t, stepWithin), t, waiting.Metrics+"/livez", func(status int, _ string) bool { return status == 200 })
	for name, test := range map[string]struct {
		process *harness.Process
		args    []string
		code    int
	}{
		"ready":         {ready, nil, 0},
		"ready, live":   {ready, []string{"--live"}, 0},
		"waiting":       {waiting, nil, 1},
		"waiting, live": {waiting, []string{"--live"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := runProsa(t, nil, append([]string{"healthcheck", "--metrics-addr=" + strings.TrimPrefix(test.process.Metrics, "http://")}, test.args...)...)
			require.Equal(t, test.code, got.code, got.err)
			require.NotContains(t, got.out+got.err, "swordfish")
		})
	}
}

// ran is what came of a command.
type ran struct {
	code     int
	out, err string
}

// runProsa runs a command of the binary that ends by itself.
func runProsa(t *testing.T, env map[string]string, args ...string) ran {
	t.Helper()
	command := exec.CommandContext(callWithin(t), binary, args...)
	command.Env = environment(env)
	command.Dir = t.TempDir()
	var out, err bytes.Buffer
	command.Stdout, command.Stderr = &out, &err
	runErr := command.Run()
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) {
		require.NoError(t, runErr)
	}
	return ran{command.ProcessState.ExitCode(), out.String(), err.String()}
}

// environment is that of the tests without settings of Prosa, and these.
func environment(extra map[string]string) []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "PROSA_") {
			env = append(env, variable)
		}
	}
	for name, value := range extra {
		env = append(env, name+"="+value)
	}
	return env
}

// script is a running block of shell commands, and all processes that it
// started.
type script struct {
	command *exec.Cmd
	mu      sync.Mutex
	written bytes.Buffer
	// ended is closed when every process of the script has ended; err says how
	// the shell did.
	ended chan struct{}
	err   error
}

// runScript starts commands in a folder; what is left of them is stopped after
// the test.
func runScript(t *testing.T, folder, commands string, env map[string]string) *script {
	t.Helper()
	s := &script{command: exec.Command("sh", "-ec", commands), ended: make(chan struct{})}
	s.command.Dir, s.command.Env = folder, environment(env)
	s.command.Stdout, s.command.Stderr = s, s
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, s.command.Start())
	go func() {
		defer close(s.ended)
		s.err = s.command.Wait() // until the last of them has closed its output
	}()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("the commands wrote:\n%s", s.output())
		}
	})
	return s
}

// wait waits until the script has ended by itself.
func (s *script) wait() error {
	<-s.ended
	return s.err
}

// stop tells every process of the script to end, and waits.
func (s *script) stop() {
	select {
	case <-s.ended:
		return
	default:
	}
	_ = syscall.Kill(-s.command.Process.Pid, syscall.SIGTERM) // when this fails they are ending by themselves
	<-s.ended
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.Write(p)
}

func (s *script) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.String()
}

// freeAddrs are settings for addresses on which nothing listens, and for
// webhooks to loopback.
func freeAddrs(t *testing.T) map[string]string {
	t.Helper()
	env := map[string]string{"PROSA_EGRESS_ALLOW": "127.0.0.0/8", "PROSA_EGRESS_HTTP": "true", "PROSA_ROOT_KEY": harness.RootKey}
	for _, name := range []string{"PROSA_HTTP_ADDR", "PROSA_GRPC_ADDR", "PROSA_METRICS_ADDR"} {
		addr, err := harness.FreeAddr()
		require.NoError(t, err)
		env[name] = addr
	}
	return env
}

// folderWithBinary is an empty folder with the binary in it.
func folderWithBinary(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.Symlink(binary, filepath.Join(folder, "prosa")))
	return folder
}

// replaced is text with something else in a place that must be there.
func replaced(t *testing.T, text, was, is string) string {
	t.Helper()
	require.Contains(t, text, was)
	return strings.ReplaceAll(text, was, is)
}

// lazily shows what is known when a test fails, not before.
type lazily func() string

func (l lazily) String() string { return l() }

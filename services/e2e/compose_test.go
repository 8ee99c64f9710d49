package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// composed is a service of docker-compose.yml, as far as it can run without Docker.
type composed struct {
	Command     []string
	Environment map[string]string
	Healthcheck struct{ Test []string }
	Ports       []string
}

// TestComposeWithoutDocker runs every command and every health check of
// docker-compose.yml that is Prosa's own, with the settings that stand there:
// only the hosts of Docker's networks become ports of this machine, and the
// address of the receiver that of loopback.
func TestComposeWithoutDocker(t *testing.T) {
	services := readCompose(t)
	database, redis := testkit.Postgres(t), testkit.Redis(t).URL
	hosts := map[string]string{}
	for _, host := range []string{
		"accounts:9090", "contacts:9090", "agent:9090", "channel:9090", "gateway:9090", "gateway:8080", "0.0.0.0:9000",
	} {
		addr, err := harness.FreeAddr()
		require.NoError(t, err)
		hosts[host] = addr
	}
	hosts["receiver:9000"] = hosts["0.0.0.0:9000"]
	hosts["127.0.0.1:8080"] = hosts["gateway:8080"] // the published port
	here := func(text string) string {
		for host, addr := range hosts {
			for _, scheme := range []string{"dns:///", "http://", "="} {
				before, rest, found := strings.Cut(text, scheme+host)
				if !found {
					continue
				}
				return before + strings.TrimPrefix(scheme, "dns:///") + addr + rest
			}
		}
		return text
	}
	environment := func(service composed) map[string]string {
		env := freeAddrs(t)
		delete(env, "PROSA_EGRESS_ALLOW") // what may be reached is what the file says
		delete(env, "PROSA_EGRESS_HTTP")
		env["PROSA_DATA_DIR"] = t.TempDir()
		for name, value := range service.Environment {
			value = here(value)
			switch name {
			case "PROSA_DATABASE_URL":
				value = database
			case "PROSA_REDIS_URL":
				value = redis
			case "PROSA_EGRESS_ALLOW":
				value = "127.0.0.1"
			case "PROSA_ERASURE_LOG":
				value = filepath.Join(t.TempDir(), filepath.Base(value))
			case "PROSA_OTLP_ENDPOINT", "PROSA_ROOT_KEY":
				continue // nobody takes traces here, and the tests have a key of their own
			}
			env[name] = value
		}
		return env
	}
	run := func(service composed, env map[string]string) *script {
		command := []string{"exec", "./prosa"}
		for _, word := range service.Command {
			command = append(command, here(word))
		}
		return runScript(t, folderWithBinary(t), strings.Join(command, " "), env)
	}

	migrate := run(services["migrate"], environment(services["migrate"]))
	require.NoError(t, migrate.wait(), migrate.output())
	for _, role := range harness.Roles {
		service := services[role]
		require.Equal(t, []string{"serve", role}, service.Command)
		env := environment(service)
		env["PROSA_GRPC_ADDR"] = hosts[role+":9090"]
		if role == "gateway" {
			env["PROSA_HTTP_ADDR"] = hosts["gateway:8080"]
			require.Equal(t, []string{"127.0.0.1:8080:8080"}, service.Ports)
		}
		running := run(service, env)
		awaitHealthy(t, running, env["PROSA_METRICS_ADDR"])
		require.Equal(t, []string{"CMD", "/prosa", "healthcheck"}, service.Healthcheck.Test) // which is what was waited for
	}

	// The demonstration, and what a container that is started again does: with
	// its volume, and without.
	demo := services["demo"]
	require.Equal(t, []string{"CMD", "/prosa", "healthcheck"}, demo.Healthcheck.Test)
	env := environment(demo)
	first := runDemoService(t, run(demo, env), env)
	again := runDemoService(t, run(demo, env), env)
	require.Equal(t, channelOf(t, first), channelOf(t, again))
	require.Equal(t, keyOf(t, first), keyOf(t, again), "the key of the first start is kept")
	env["PROSA_DATA_DIR"] = t.TempDir()
	lost := runDemoService(t, run(demo, env), env)
	require.Equal(t, channelOf(t, first), channelOf(t, lost), "found again")
	require.NotEqual(t, keyOf(t, first), keyOf(t, lost), "nobody knows the key any more")
}

// runDemoService waits until the demonstration is healthy, pastes the lines that
// it shows, stops it, and gives what it wrote.
func runDemoService(t *testing.T, demo *script, env map[string]string) string {
	t.Helper()
	awaitHealthy(t, demo, env["PROSA_METRICS_ADDR"])
	shown := demo.output()
	requireAnswered(t, shown)
	pasteLines(harness.Within(t, stepWithin), t, shown)
	require.Eventually(t, func() bool { return strings.Contains(demo.output(), `"output":[`) }, stepWithin, queryPause, "the callback of the Bot API")
	demo.stop()
	require.NoError(t, demo.wait())
	require.NotContains(t, demo.output(), "signature", "all signatures were right")
	return demo.output()
}

// readCompose reads docker-compose.yml, with its variables at their defaults.
func readCompose(t *testing.T) map[string]composed {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docker-compose.yml"))
	require.NoError(t, err)
	resolved := regexp.MustCompile(`\$\{(\w+):-([^}]*)\}`).ReplaceAllString(string(text), "$2")
	require.NotContains(t, resolved, "${", "a variable without a default")
	var file struct{ Services map[string]composed }
	require.NoError(t, yaml.Unmarshal([]byte(resolved), &file))
	return file.Services
}

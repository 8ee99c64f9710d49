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
}

// TestComposeWithoutDocker runs every command and every health check of
// docker-compose.yml that is Prosa's own, with the settings that stand there:
// only the hosts of Docker's network become ports of this machine.
func TestComposeWithoutDocker(t *testing.T) {
	services := readCompose(t)
	database, redis := testkit.Postgres(t), testkit.Redis(t).URL
	ports := map[string]string{}
	for _, role := range harness.Roles {
		addr, err := harness.FreeAddr()
		require.NoError(t, err)
		ports[role+":9090"] = addr
	}
	environment := func(service composed) map[string]string {
		env := freeAddrs(t)
		for name, value := range service.Environment {
			for host, addr := range ports {
				value = strings.Replace(value, "dns:///"+host, addr, 1)
			}
			switch name {
			case "PROSA_DATABASE_URL":
				value = database
			case "PROSA_REDIS_URL":
				value = redis
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
		return runScript(t, folderWithBinary(t), "./prosa "+strings.Join(service.Command, " "), env)
	}

	migrate := run(services["migrate"], environment(services["migrate"]))
	require.NoError(t, migrate.wait(), migrate.output())
	var front string
	for _, role := range harness.Roles {
		service := services[role]
		require.Equal(t, []string{"serve", role}, service.Command)
		env := environment(service)
		env["PROSA_GRPC_ADDR"] = ports[role+":9090"]
		running := run(service, env)
		awaitHealthy(t, running, env["PROSA_METRICS_ADDR"])
		require.Equal(t, []string{"CMD", "/prosa", "healthcheck"}, service.Healthcheck.Test) // which is what was waited for
		if role == "gateway" {
			front = env["PROSA_HTTP_ADDR"]
		}
	}
	sendAndReceive(t, front)
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

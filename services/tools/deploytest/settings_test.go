package deploytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// program is the path of the binary.
type program string

// build builds it.
func build(t *testing.T) program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prosa")
	command := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/prosa")
	command.Dir = "../.."
	command.Env = append(os.Environ(), "GOWORK=")
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
	return program(path)
}

// run runs a command that ends by itself, with no settings but those given as environment variables.
func (p program) run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), string(p), args...)
	command.Env = env
	output, err := command.CombinedOutput()
	require.NoError(t, err, "prosa %s\n%s", strings.Join(args, " "), output)
	return string(output)
}

// settings are the environment variables of what `prosa config` prints.
func (p program) settings(t *testing.T) []string {
	t.Helper()
	var variables []string
	for _, found := range regexp.MustCompile(`(?m)^([a-z-]+): `).FindAllStringSubmatch(p.run(t, nil, "config"), -1) {
		variables = append(variables, "PROSA_"+strings.ToUpper(strings.ReplaceAll(found[1], "-", "_")))
	}
	require.NotEmpty(t, variables)
	return variables
}

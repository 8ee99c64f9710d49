package deploytest

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// settings are the environment variables that `prosa serve` knows.
func settings(t *testing.T) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "run", "./cmd/prosa", "serve", "--help")
	command.Dir = "../.."
	command.Env = append(os.Environ(), "GOWORK=")
	help, err := command.Output()
	require.NoError(t, err)
	found := regexp.MustCompile(`PROSA_[A-Z_]+`).FindAllString(string(help), -1)
	require.NotEmpty(t, found)
	return found
}

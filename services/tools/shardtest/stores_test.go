package shardtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tested are the packages whose tests together give PostgreSQL every statement that is not one constant string.
var tested = []string{
	"./accounts/internal/store", "./agent/internal/store", "./channel/internal/store", "./contacts/internal/store",
}

// What only a test asks of a store is not looked at; it is known by being one constant string there.
func TestEveryStatementNamesItsInstance(t *testing.T) {
	stored := run(t)
	written := readSource(t)
	var checked []string
	for sql := range stored {
		if _, ok := written.tests[sql]; !ok || written.product[sql] != "" {
			checked = append(checked, sql)
		}
	}
	// What is one constant string is read as it stands, whether a test ran it or not; what is no statement by itself must be part of one.
	// Files that are SQLite's alone have nothing that PostgreSQL gets.
	all := strings.Join(checked, "\n")
	var parts []string
	for text, at := range written.product {
		if strings.Contains(all, text) || strings.Contains(at, "_sqlite.go:") {
			continue
		}
		if _, err := check(text); err != nil {
			parts = append(parts, text)
			continue
		}
		checked = append(checked, text)
	}
	all = strings.Join(checked, "\n")
	for _, part := range parts {
		if !strings.Contains(all, part) {
			t.Errorf("%s: a part of a statement that no test of a store has run: %s", written.product[part], part)
		}
	}
	slices.Sort(checked)
	require.Greater(t, len(checked), 300, "the statements of four services")

	used := make([]bool, len(exceptions))
	for _, sql := range slices.Compact(checked) {
		problems, err := check(sql)
		require.NoError(t, err, sql)
		for _, problem := range problems {
			at := slices.IndexFunc(exceptions, func(e exception) bool {
				table, rest, _ := strings.Cut(problem, ":")
				return rest == " its instance is equal to nothing that is given" && strings.Contains(sql, e.part) && slices.Contains(e.tables, table)
			})
			if at < 0 {
				t.Errorf("%s\n\tin %s", problem, sql)
				continue
			}
			used[at] = true
		}
	}
	for i, e := range exceptions {
		if !used[i] {
			t.Errorf("an exception that no statement needs: %s", e.part)
		}
	}
}

// run runs the tests of the stores on PostgreSQL, and gives the statements that they sent.
func run(t *testing.T) map[string]bool {
	t.Helper()
	logs := t.TempDir()
	// The server runs as another user if the tests run as root.
	require.NoError(t, os.Chmod(logs, 0o777))
	require.NoError(t, os.Chmod(filepath.Dir(logs), 0o755))
	args := append([]string{"test", "-count=1", "-short", "-run", "/postgres|//postgres"}, tested...)
	tests := exec.CommandContext(t.Context(), "go", args...)
	tests.Dir = services
	tests.Env = append(os.Environ(), "GOWORK=off", "PROSA_TEST_POSTGRES_LOG="+logs, "PROSA_TEST_POSTGRES_URL=")
	out, err := tests.CombinedOutput()
	require.NoError(t, err, string(out))
	found := statements(t, logs)
	if len(found) == 0 && os.Getenv("CI") != "true" {
		t.Skip("no PostgreSQL: install its server")
	}
	require.NotEmpty(t, found)
	return found
}

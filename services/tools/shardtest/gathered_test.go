package shardtest

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// executed is how PostgreSQL's log tells of a statement (log_statement, https://www.postgresql.org/docs/15/runtime-config-logging.html).
var executed = regexp.MustCompile(`(?s)^(?:execute [^:]+|statement): (.*)$`)

// ofService is what a log has of a connection of one of the four stores; see sqldb.
var ofService = regexp.MustCompile(`"application_name":"prosa-(?:accounts|agent|channel|contacts)"`)

// statements are those in the logs of a directory that a store sent, each once, with the spaces of one line.
func statements(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	logs, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	for _, path := range logs {
		file, err := os.Open(path)
		require.NoError(t, err)
		lines := bufio.NewReader(file)
		for {
			line, err := lines.ReadBytes('\n')
			if err == io.EOF {
				break // a line that was cut off belongs to a server that was stopped
			}
			require.NoError(t, err)
			if !ofService.Match(line) {
				continue
			}
			var entry struct {
				Message string `json:"message"`
			}
			require.NoError(t, json.Unmarshal(line, &entry))
			if m := executed.FindStringSubmatch(entry.Message); m != nil {
				found[oneLine(m[1])] = true
			}
		}
		require.NoError(t, file.Close())
	}
	return found
}

// oneLine is a statement without what only its layout is: comments at the ends of lines, and spaces.
func oneLine(sql string) string {
	lines := strings.Split(sql, "\n")
	for i, line := range lines {
		lines[i], _, _ = strings.Cut(line, "--")
	}
	return strings.Join(strings.Fields(strings.Join(lines, "\n")), " ")
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAgentTest(t *testing.T) {
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	eco := file("eco.yaml", `{displayName: Eco, fallback: eco, nodes: {eco: {say: [{text: "eco: {{ input.text }}"}]}}}`)
	good := file("good.yaml", "cases:\n  - name: first\n    turns: [{user: oi, bot: ['eco: oi']}]\n")
	bad := file("bad.yaml", "cases:\n  - name: first\n    turns: [{user: oi, bot: ['eco: oi']}]\n"+
		"  - name: second\n    turns: [{user: oi, bot: ['olá']}]\n")

	code, out, stderr := prosa(t, "agent", "test", eco, good)
	require.Zero(t, code, stderr)
	require.Equal(t, good+":2: first: ok\n", out)

	code, out, _ = prosa(t, "agent", "test", eco, bad)
	require.Equal(t, 1, code)
	require.Equal(t, bad+":2: first: ok\n"+bad+":4: second: went otherwise\n"+
		"  turn 1, user: oi\n    - bot: olá\n    + bot: eco: oi\n1 of 2 cases went otherwise\n", out)

	code, out, _ = prosa(t, "agent", "test", file("faulty.yaml", "displayName: X\nfallback: nowhere\n"), good)
	require.Equal(t, 1, code)
	require.Contains(t, out, "faulty.yaml:2:11: fallback: ")

	code, _, stderr = prosa(t, "agent", "test", eco, file("unread.yaml", "cases: 1"))
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "unread.yaml: read cases: ")

	for _, args := range [][]string{{eco, folder + "/none.yaml"}, {folder + "/none.yaml", good}} {
		code, _, stderr = prosa(t, append([]string{"agent", "test"}, args...)...)
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "none.yaml")
	}
}

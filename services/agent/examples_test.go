package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent"
)

// The cases in the README are true.
func TestCasesOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(readme), "A file of cases:\n\n```yaml\n")
	require.True(t, found)
	cases, _, found := strings.Cut(after, "```")
	require.True(t, found)
	source, err := os.ReadFile("../../deploy/examples/agents/pedidos.yaml")
	require.NoError(t, err)
	outcomes, err := agent.Rehearse(t.Context(), source, []byte(cases))
	require.NoError(t, err)
	require.Len(t, outcomes, 1)
	require.Empty(t, outcomes[0].Differences)
}

// The call in the README is one that can be published, and the answers of calls are read as it says.
func TestCallsOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	block := func(before string) string {
		_, after, found := strings.Cut(string(readme), before+"\n\n```yaml\n")
		require.True(t, found, before)
		text, _, found := strings.Cut(after, "```")
		require.True(t, found)
		return text
	}
	node := "  " + strings.ReplaceAll(strings.TrimSpace(block("### Calls")), "\n", "\n  ")
	require.Empty(t, agent.CheckDefinition([]byte("displayName: A\nfallback: lookup\nnodes:\n"+node+"\n  human: {}\n  opened: {}\n")))

	source, err := os.ReadFile("../../deploy/examples/agents/entregas.yaml")
	require.NoError(t, err)
	cases := block("by the nodes that call:") + "cases:\n  - {name: a, turns: [{user: oi}]}\n"
	_, err = agent.Rehearse(t.Context(), source, []byte(cases))
	require.NoError(t, err)
}

// Every example has cases, and does what they say.
func TestExamplesDoWhatTheirCasesSay(t *testing.T) {
	files, err := filepath.Glob("../../deploy/examples/agents/*.yaml")
	require.NoError(t, err)
	examples := 0
	for _, file := range files {
		name, isCases := strings.CutSuffix(file, ".cases.yaml")
		if isCases {
			require.FileExists(t, name+".yaml")
			continue
		}
		examples++
		t.Run(filepath.Base(file), func(t *testing.T) {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Empty(t, agent.CheckDefinition(source))
			cases, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".cases.yaml")
			require.NoError(t, err)
			outcomes, err := agent.Rehearse(t.Context(), source, cases)
			require.NoError(t, err)
			require.NotEmpty(t, outcomes)
			for _, o := range outcomes {
				require.Empty(t, o.Differences, o.Case)
			}
		})
	}
	require.GreaterOrEqual(t, examples, 3)
}

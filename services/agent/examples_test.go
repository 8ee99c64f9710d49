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

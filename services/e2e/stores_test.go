package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// eachStore runs a test on the embedded store and on PostgreSQL; settings say
// which.
func eachStore(t *testing.T, run func(t *testing.T, settings map[string]string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		run(t, map[string]string{"data-dir": t.TempDir()})
	})
	t.Run("postgres", func(t *testing.T) {
		settings := map[string]string{"data-dir": t.TempDir(), "database-url": testkit.Postgres(t)}
		harness.Migrate(t.Context(), t, binary, settings["database-url"])
		run(t, settings)
	})
}

// eachDeployment runs a test on Prosa in one process and in one a role, on
// both stores.
func eachDeployment(t *testing.T, run func(t *testing.T, cluster *harness.Cluster)) {
	t.Helper()
	eachStore(t, func(t *testing.T, settings map[string]string) {
		deployments := []struct {
			name  string
			start func(ctx context.Context, binary string, settings map[string]string) (*harness.Cluster, error)
		}{{"together", harness.StartTogether}, {"apart", harness.StartApart}}
		for _, deployment := range deployments {
			t.Run(deployment.name, func(t *testing.T) {
				cluster, err := deployment.start(t.Context(), binary, settings)
				require.NoError(t, err)
				t.Cleanup(func() {
					err := cluster.Stop()
					if t.Failed() {
						t.Logf("prosa wrote:\n%s", cluster.Output())
					}
					require.NoError(t, err)
				})
				run(t, cluster)
			})
		}
	})
}

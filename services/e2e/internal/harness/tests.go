package harness

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// Main builds the binary, says in path where it is, runs a package's tests, and
// ends the process with their outcome. A TestMain calls it.
func Main(m *testing.M, path *string) {
	built, remove, err := Build(context.Background(), buildFlags...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	*path = built
	code := testkit.Run(m)
	remove()
	os.Exit(code)
}

// Within is a context of a test, for so long.
func Within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Random makes the randomness of a run and shows its seed, which
// PROSA_TEST_SEED sets.
func Random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("PROSA_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("PROSA_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Migrate brings the stores of a database to the binary's schema.
func Migrate(ctx context.Context, t *testing.T, binary, databaseURL string) {
	t.Helper()
	output, err := exec.CommandContext(ctx, binary, "migrate", "--database-url="+databaseURL, "--secret-key="+SecretKey).CombinedOutput()
	require.NoError(t, err, string(output))
}

// StartTwice starts two processes of every role on a database, which it brings
// to their schema. They end with the test, without a fault.
func StartTwice(ctx context.Context, t *testing.T, binary, databaseURL string, besides map[string]string) *Cluster {
	t.Helper()
	Migrate(ctx, t, binary, databaseURL)
	settings := map[string]string{"data-dir": t.TempDir(), "database-url": databaseURL}
	maps.Copy(settings, besides)
	cluster, err := StartReplicated(ctx, binary, settings, 2)
	require.NoError(t, err)
	t.Cleanup(func() {
		err := cluster.Stop()
		if t.Failed() {
			t.Logf("prosa wrote:\n%s", cluster.Output())
		}
		require.NoError(t, err)
	})
	return cluster
}

// Package replicas runs several processes of each role on one PostgreSQL, and
// looks at what they do for each other.
package replicas

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

var binary string

func TestMain(m *testing.M) {
	path, remove, err := harness.Build(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = path
	code := testkit.Run(m)
	remove()
	os.Exit(code)
}

// world is two processes of every role, and who talks to them.
type world struct {
	*harness.Cluster
	databaseURL string
	receiver    *harness.Receiver
	clients     []*harness.Client
	setup       harness.Setup
}

// start starts it; the receiver answers as answer says.
func start(ctx context.Context, t *testing.T, answer func(harness.Delivery) (int, string)) *world {
	t.Helper()
	w := &world{databaseURL: testkit.Postgres(t)}
	output, err := exec.CommandContext(ctx, binary, "migrate", "--database-url="+w.databaseURL, "--secret-key="+harness.SecretKey).CombinedOutput()
	require.NoError(t, err, string(output))
	w.Cluster, err = harness.StartReplicated(ctx, binary, map[string]string{"data-dir": t.TempDir(), "database-url": w.databaseURL}, 2)
	require.NoError(t, err)
	t.Cleanup(func() {
		err := w.Stop()
		if t.Failed() {
			t.Logf("prosa wrote:\n%s", w.Output())
		}
		require.NoError(t, err)
	})
	w.receiver, err = harness.NewReceiver(answer)
	require.NoError(t, err)
	t.Cleanup(w.receiver.Close)
	for _, gateway := range w.Gateways {
		client := harness.NewClient(gateway)
		t.Cleanup(client.Close)
		w.clients = append(w.clients, client)
	}
	w.setup, err = w.clients[0].Create(ctx, "replicas", harness.Echo, w.receiver.URL, false)
	require.NoError(t, err)
	return w
}

// within is a context of a test, for so long.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

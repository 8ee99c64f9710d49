package upgrade

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestEmbeddedStore takes one data folder through three releases and back:
// each migrates it when it starts, the present one still works on what the next
// one made of it, a migration that is killed in the middle has not begun, what
// the later one made of it is refused, and the backup from before is the way
// back.
func TestEmbeddedStore(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "prosa.tar")
	receiver, err := harness.NewReceiver(nil)
	require.NoError(t, err)
	defer receiver.Close()
	ledger := harness.NewLedger()
	var setup harness.Setup
	said := 0
	// run starts a release, goes on with the conversation, and stops the release.
	run := func(binary string, meanwhile func(client *harness.Client)) {
		t.Helper()
		process, err := harness.Start(ctx, harness.Spec{Binary: binary, Settings: map[string]string{"data-dir": dir}})
		require.NoError(t, err)
		client := harness.NewClient(process.HTTP)
		defer client.Close()
		if setup.ChannelID == "" {
			setup, err = client.Create(ctx, "embedded", harness.Echo, receiver.URL, false)
			require.NoError(t, err)
		}
		for range 3 {
			require.NoError(t, ledger.Say(ctx, []*harness.Client{client}, setup.ChannelID, "person", said))
			said++
		}
		require.NoError(t, receiver.WaitCount(ctx, ledger.Count()))
		require.NoError(t, harness.CheckOrder(receiver.First(), ledger.Accepted()), "it goes on where the release before was")
		requireHistory(ctx, t, client, setup, said)
		if meanwhile != nil {
			meanwhile(client)
		}
		require.NoError(t, process.Stop())
	}
	run(present, func(*harness.Client) {
		requireDone(t, exec.CommandContext(ctx, present, "backup", file, "--data-dir="+dir))
	})
	backedUp := said
	run(next, nil)
	run(present, nil)

	killInMigration(t, dir)
	run(present, nil)
	run(later, nil)
	run(next, nil)
	serve := exec.CommandContext(ctx, present, "serve", "--data-dir="+dir, "--http-addr=127.0.0.1:0", "--grpc-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0")
	requireTooNew(t, serve)
	run(next, nil) // nothing was changed

	newer := filepath.Join(t.TempDir(), "newer.tar")
	requireDone(t, exec.CommandContext(ctx, next, "backup", newer, "--data-dir="+dir))
	requireTooNew(t, exec.CommandContext(ctx, present, "restore", newer, "--data-dir="+t.TempDir()))
	requireDone(t, exec.CommandContext(ctx, present, "restore", file, "--data-dir="+dir, "--replace"))
	process, err := harness.Start(ctx, harness.Spec{Binary: present, Settings: map[string]string{"data-dir": dir}})
	require.NoError(t, err)
	client := harness.NewClient(process.HTTP)
	defer client.Close()
	requireHistory(ctx, t, client, setup, backedUp)
	require.NoError(t, process.Stop())
}

// killInMigration kills the later release while its first migration writes.
func killInMigration(t *testing.T, dir string) {
	t.Helper()
	const begun = 1 << 20 // bytes of the log that are of no use without its end
	process, err := harness.Launch(harness.Spec{Binary: later, Settings: map[string]string{"data-dir": dir}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := os.Stat(filepath.Join(dir, "accounts.db-wal"))
		return err == nil && info.Size() > begun
	}, time.Minute, time.Millisecond, process.Output)
	process.Kill()
	require.NotContains(t, process.Output(), "store migrated", "it was killed in the middle")
}

// requireHistory waits until contacts knows so many messages of the person.
func requireHistory(ctx context.Context, t *testing.T, client *harness.Client, setup harness.Setup, messages int) {
	t.Helper()
	query := map[string]any{"filters": map[string]any{"identifier": "person"}}
	var answer struct{ Contacts []struct{ Interactions int } }
	require.Eventually(t, func() bool {
		err := client.Call(ctx, http.MethodPost, "/contacts/"+setup.Instance, query, &answer)
		return err == nil && len(answer.Contacts) == 1 && answer.Contacts[0].Interactions == messages
	}, time.Minute, 150*time.Millisecond, "messages of the person")
}

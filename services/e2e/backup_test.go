package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestBackupDrill is what an operator does on a bad day: a backup is made under
// load, the machine dies, and a new one goes on with the backup. Everything
// acknowledged before it was made is there, so that what callers send again, by
// the same keys, counts once; what they had sent after it is answered anew.
func TestBackupDrill(t *testing.T) {
	const persons = 10
	ctx := harness.Within(t, killWithin)
	folder := t.TempDir()
	prosa, err := harness.Start(ctx, harness.Spec{Binary: binary, Settings: map[string]string{"data-dir": filepath.Join(folder, "old")}})
	require.NoError(t, err)
	client, receiver := clientOf(t, prosa), receive(t, nil)
	setup := setUp(ctx, t, client, receiver.URL)
	ledger := harness.NewLedger()
	var senders sync.WaitGroup
	for person := range persons {
		senders.Go(func() { sendAll(ctx, client, setup.ChannelID, person, ledger) })
	}
	require.NoError(t, ledger.Wait(ctx, persons*killMessages/3))
	before := ledger.Counts()
	file := filepath.Join(folder, "prosa.tar")
	run := func(args ...string) {
		t.Helper()
		output, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
		require.NoError(t, err, string(output))
	}
	run("backup", file, "--data-dir="+filepath.Join(folder, "old"))
	senders.Wait()
	prosa.Kill()

	run("restore", file, "--data-dir="+filepath.Join(folder, "new"))
	prosa = start(t, harness.Spec{Settings: map[string]string{"data-dir": filepath.Join(folder, "new")}})
	client = clientOf(t, prosa)
	for person, count := range before {
		require.Eventually(t, func() bool {
			var answer struct{ Contacts []struct{ Interactions int } }
			query := map[string]any{"filters": map[string]any{"identifier": person}}
			err := client.Call(ctx, http.MethodPost, "/contacts/"+setup.Instance, query, &answer)
			return err == nil && len(answer.Contacts) == 1 && answer.Contacts[0].Interactions >= count
		}, time.Minute, queryPause, "what was acknowledged before the backup was made is in it")
	}
	again := harness.NewLedger()
	for person := range persons {
		senders.Go(func() { sendAll(ctx, client, setup.ChannelID, person, again) })
	}
	senders.Wait()
	for person := range again.Accepted() {
		checkHistory(ctx, t, client, setup, person)
		time.Sleep(queryPause)
	}
}

// runBackup backs up as written, beside a process that runs.
func runBackup(t *testing.T, block string) { backUp(t, folderWithBinary(t), block) }

// runRestore restores as written, into a folder that is empty again; the
// process then has the key that it made at its first start.
func runRestore(t *testing.T, block string) {
	folder := folderWithBinary(t)
	key := backUp(t, folder, "./prosa backup prosa.tar")
	require.NoError(t, os.RemoveAll(filepath.Join(folder, "data")))
	restored := runScript(t, folder, block, nil)
	require.NoError(t, restored.wait(), restored.output())
	env := freeAddrs(t)
	delete(env, "PROSA_ROOT_KEY")
	awaitHealthy(t, runScript(t, folder, "./prosa serve", env), env["PROSA_METRICS_ADDR"])
	require.Equal(t, key, readKey(t, filepath.Join(folder, "data", "root.key")))
}

// backUp runs a command beside a process, which it ends, and returns the root
// key that the process made.
func backUp(t *testing.T, folder, command string) (key string) {
	t.Helper()
	env := freeAddrs(t)
	delete(env, "PROSA_ROOT_KEY")
	serving := runScript(t, folder, "./prosa serve", env)
	awaitHealthy(t, serving, env["PROSA_METRICS_ADDR"])
	made := runScript(t, folder, command, nil)
	require.NoError(t, made.wait(), made.output())
	require.FileExists(t, filepath.Join(folder, "prosa.tar"))
	serving.stop()
	return readKey(t, filepath.Join(folder, "data", "root.key"))
}

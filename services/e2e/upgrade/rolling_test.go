package upgrade

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

const (
	persons = 10
	// betweenWords is how long a person is quiet after each message, and betweenLooks an operator after each query.
	betweenWords = 50 * time.Millisecond
	betweenLooks = 250 * time.Millisecond
	// soMany are enough messages to say that the load goes on.
	soMany = 5 * persons
	poll   = 20 * time.Millisecond
)

// TestReleaseIsRolledOut has two processes of every role on one PostgreSQL, and
// people who talk and an operator who looks all the time, while the next release
// migrates the stores and takes over process by process. The migration waits for
// somebody who reads, is killed twice, and is then done by two at once; processes
// of the present release go on meanwhile, and start. Nothing acknowledged is
// lost, answers are in order and arrive once, and no call is answered with a
// fault but the documented 503.
func TestReleaseIsRolledOut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	database := testkit.Postgres(t)
	requireDone(t, migrate(ctx, present, database))
	cluster, err := harness.StartReplicated(ctx, present, map[string]string{
		"data-dir": t.TempDir(), "database-url": database, "drain-delay": "500ms",
	}, 2)
	require.NoError(t, err)
	t.Cleanup(func() {
		err := cluster.Stop()
		if t.Failed() {
			t.Logf("prosa wrote:\n%s", cluster.Output())
		}
		require.NoError(t, err)
	})
	requireToldToMigrate(ctx, t, database)

	load := begin(ctx, t, cluster)
	require.NoError(t, load.goesOn(ctx))
	killMigrations(ctx, t, database)
	require.NoError(t, load.goesOn(ctx))
	both := [2]*exec.Cmd{migrate(ctx, next, database), migrate(ctx, next, database)}
	require.NoError(t, both[0].Start())
	require.NoError(t, both[1].Run())
	require.NoError(t, both[0].Wait())
	require.Zero(t, brokenIndexes(ctx, t, database))

	every := 1
	if testing.Short() {
		every = 5
	}
	for process := 0; process < cluster.Size(); process += 2 * every {
		require.NoError(t, cluster.Restart(ctx, process), "the present release starts on the newer schema")
	}
	require.NoError(t, load.goesOn(ctx))
	requireDone(t, migrate(ctx, present, database))
	for process := 0; process < cluster.Size(); process += every {
		require.NoError(t, cluster.Upgrade(ctx, process, next))
	}
	require.NoError(t, load.goesOn(ctx))

	load.end(ctx, t)
	t.Logf("%d messages, %d times 503 with Retry-After", load.ledger.Count(), load.watch.Leaving())
	if testing.Short() {
		return
	}
	requireDone(t, migrate(ctx, later, database))
	require.NoError(t, cluster.Restart(ctx, 0), "the next release knows what the later one has taken away")
	for _, command := range []*exec.Cmd{
		migrate(ctx, present, database),
		exec.CommandContext(ctx, present, "serve", "--http-addr=127.0.0.1:0", "--grpc-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0",
			"--database-url="+database, "--secret-key="+harness.SecretKey, "--root-key="+harness.RootKey, "--data-dir="+t.TempDir()),
	} {
		requireTooNew(t, command)
	}
}

// requireToldToMigrate starts the next release on the schema of the present
// one: it waits, and says what to run.
func requireToldToMigrate(ctx context.Context, t *testing.T, database string) {
	t.Helper()
	process, err := harness.Launch(harness.Spec{Binary: next, Settings: map[string]string{"data-dir": t.TempDir(), "database-url": database}})
	require.NoError(t, err)
	told := func(part string) func() bool {
		return func() bool {
			response, err := http.Get(process.Metrics + part) //nolint:noctx // it answers at once, or is not there yet
			if err != nil {
				return false
			}
			defer response.Body.Close()
			var body bytes.Buffer
			_, err = body.ReadFrom(response.Body)
			return err == nil && (part == "/livez" && response.StatusCode == http.StatusOK ||
				response.StatusCode == http.StatusServiceUnavailable && strings.Contains(body.String(), "prosa migrate"))
		}
	}
	require.Eventually(t, told("/livez"), time.Minute, poll)
	require.Eventually(t, told("/readyz"), time.Minute, poll)
	require.NoError(t, process.Stop())
	require.Contains(t, process.Output(), "run `prosa migrate`")
	http.DefaultClient.CloseIdleConnections()
}

// killMigrations kills a migration that waits for a table, and one that makes
// an index.
func killMigrations(ctx context.Context, t *testing.T, database string) {
	t.Helper()
	conn, err := pgx.Connect(ctx, database)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(ctx)) }()
	run := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			_, err := conn.Exec(ctx, statement)
			require.NoError(t, err)
		}
	}
	// As pg_dump does.
	run("BEGIN", "LOCK TABLE contacts.attendance IN ACCESS SHARE MODE")
	kill(ctx, t, database, func(output string) bool {
		return strings.Contains(output, "migration waits for a table that is in use")
	})
	run("ROLLBACK")
	// To whom the index must not seem complete.
	run("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
	kill(ctx, t, database, func(string) bool { return brokenIndexes(ctx, t, database) > 0 })
	run("ROLLBACK")
}

// kill begins to migrate, and kills that when it has come so far.
func kill(ctx context.Context, t *testing.T, database string, soFar func(output string) bool) {
	t.Helper()
	command := migrate(ctx, next, database)
	var output lockedBuffer
	command.Stderr, command.Stdout = &output, &output
	require.NoError(t, command.Start())
	require.Eventually(t, func() bool { return soFar(output.String()) }, time.Minute, poll)
	require.NoError(t, command.Process.Kill())
	require.Error(t, command.Wait())
}

// brokenIndexes is how many indexes are not whole.
func brokenIndexes(ctx context.Context, t *testing.T, database string) (count int) {
	conn, err := pgx.Connect(ctx, database)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(ctx)) }()
	require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM pg_index WHERE NOT indisvalid").Scan(&count))
	return count
}

func migrate(ctx context.Context, binary, database string) *exec.Cmd {
	return exec.CommandContext(ctx, binary, "migrate", "--database-url="+database, "--secret-key="+harness.SecretKey, "--log-format=json")
}

func requireDone(t *testing.T, command *exec.Cmd) {
	t.Helper()
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}

// requireTooNew runs a program that does not fit to a newer schema: it says so,
// and ends.
func requireTooNew(t *testing.T, command *exec.Cmd) {
	t.Helper()
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, string(output))
	require.Equal(t, 1, exit.ExitCode())
	require.Contains(t, string(output), "schema is too new for this program: run the release that migrated it, or a later one")
}

// load is people who talk and an operator who looks.
type load struct {
	ledger   *harness.Ledger
	receiver *harness.Receiver
	watch    *harness.Watch
	quiet    func()
	all      sync.WaitGroup
}

// goesOn waits for messages that are acknowledged from now on.
func (l *load) goesOn(ctx context.Context) error { return l.ledger.Wait(ctx, l.ledger.Count()+soMany) }

// begin begins the load.
func begin(ctx context.Context, t *testing.T, cluster *harness.Cluster) *load {
	t.Helper()
	receiver, err := harness.NewReceiver(nil)
	require.NoError(t, err)
	t.Cleanup(receiver.Close)
	l := &load{ledger: harness.NewLedger(), receiver: receiver, watch: &harness.Watch{From: http.StatusBadRequest}}
	var clients []*harness.Client
	for _, gateway := range cluster.Gateways {
		client := harness.NewClient(gateway)
		t.Cleanup(client.Close)
		clients = append(clients, client)
	}
	setup, err := clients[0].Create(ctx, "rolled", harness.Echo, receiver.URL, false)
	require.NoError(t, err)
	// Contacts answers 404 while there is nobody.
	require.NoError(t, l.ledger.Say(ctx, clients, setup.ChannelID, "person", 0))
	require.Eventually(t, func() bool {
		return clients[0].Call(ctx, http.MethodPost, "/contacts/"+setup.Instance, map[string]any{}, nil) == nil
	}, time.Minute, betweenLooks)
	for _, client := range clients {
		l.watch.Over(client)
	}
	talking, quiet := context.WithCancel(ctx)
	l.quiet = quiet
	t.Cleanup(l.all.Wait)
	t.Cleanup(quiet)
	for person := range persons {
		l.all.Go(func() {
			for i := 0; talking.Err() == nil; i++ {
				if err := l.ledger.Say(ctx, clients, setup.ChannelID, fmt.Sprintf("person-%d", person), i); err != nil {
					t.Error(err)
					return
				}
				pause(talking, betweenWords)
			}
		})
	}
	l.all.Go(func() { l.look(talking, clients, setup) })
	return l
}

// look asks every store again and again; what is answered is watched.
func (l *load) look(talking context.Context, clients []*harness.Client, setup harness.Setup) {
	base := "/v1/instances/" + setup.Instance
	for i := 0; talking.Err() == nil; i++ {
		client := clients[i%len(clients)]
		query := map[string]any{"filters": map[string]any{"identifier": "person"}, "flags": map[string]any{"history": true}}
		// An error is that of a process that is leaving, or is counted.
		_ = client.Call(talking, http.MethodPost, "/contacts/"+setup.Instance, query, nil)
		_ = client.Call(talking, http.MethodGet, base+"/deliveries", nil, nil)
		_ = client.Call(talking, http.MethodGet, base+"/apiKeys", nil, nil)
		_ = client.Call(talking, http.MethodGet, base+"/agents", nil, nil)
		pause(talking, betweenLooks)
	}
}

// end ends the load and compares what was acknowledged with what arrived.
func (l *load) end(ctx context.Context, t *testing.T) {
	t.Helper()
	l.quiet()
	l.all.Wait()
	require.NoError(t, l.receiver.WaitCount(ctx, l.ledger.Count()), "acknowledged messages without an answer")
	require.NoError(t, harness.CheckOrder(l.receiver.First(), l.ledger.Accepted()))
	require.Equal(t, len(l.receiver.First()), len(l.receiver.All()), "what was in flight was finished: nothing arrives twice")
	require.Empty(t, l.watch.Faults())
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// lockedBuffer is written by a process and read by a test.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

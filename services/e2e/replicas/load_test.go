package replicas

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/mtls/mtlstest"
)

const (
	// replicaKillEvery is how long a cluster lives between two kills, replicaKills how many there are: a minute in all.
	replicaKillEvery = 3 * time.Second
	replicaKills     = 20
	replicaPersons   = 20
	// betweenWords is how long a person is quiet after each message.
	betweenWords = 50 * time.Millisecond
)

// TestReplicasKilledUnderLoad has two processes of every role on one
// PostgreSQL. For a minute one of the ten is killed with -9 every three seconds
// and comes back, while people go on talking by both gateways. Nothing
// acknowledged is lost, answers are in order, and what arrives twice was under
// way at a kill.
func TestReplicasKilledUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	t.Parallel()
	ctx := harness.Within(t, 5*time.Minute)
	random := harness.Random(t)
	w := start(ctx, t, nil, nil)

	ledger := harness.NewLedger()
	talking, quiet := context.WithCancel(ctx)
	defer quiet()
	var senders sync.WaitGroup
	for person := range replicaPersons {
		senders.Go(func() { converse(ctx, talking, t, clientsOf(w.Cluster, nil), w.setup.ChannelID, person, ledger) })
	}
	for range replicaKills {
		time.Sleep(replicaKillEvery)
		require.NoError(t, w.KillAndRestart(random.IntN(w.Size())))
	}
	quiet()
	senders.Wait()
	require.NoError(t, w.WaitReady(ctx))
	accepted, total := ledger.Accepted(), 0
	for _, texts := range accepted {
		total += len(texts)
	}
	require.Greater(t, total, replicaPersons*replicaKills, "people were answered all the time")
	require.NoError(t, w.receiver.WaitCount(ctx, total), "acknowledged messages without an answer")
	require.NoError(t, harness.CheckOrder(w.receiver.First(), accepted))
	// A process that died had a delivery of each of its lanes under way at most.
	repeated := len(w.receiver.All()) - len(w.receiver.First())
	require.LessOrEqual(t, repeated, replicaKills*replicaPersons)
	t.Logf("%d messages, %d kills, %d arrived more than once", total, replicaKills, repeated)
}

// TestRollingRestart replaces the certificates of a cluster and restarts its
// ten processes, one after the other, while people talk: every call is answered,
// by one gateway or the other, and no answer is a fault but the documented 503
// of a gateway that is leaving.
func TestRollingRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	ctx := harness.Within(t, 4*time.Minute)
	authority, folder := mtlstest.NewAuthority(t), t.TempDir()
	var names []string
	for _, role := range harness.Roles {
		names = append(names, harness.RoleName(role))
	}
	files := authority.IssueTo(t, folder, names...)
	w := start(ctx, t, map[string]string{
		"drain-delay": "500ms", "tls-cert": files.Cert, "tls-key": files.Key, "tls-ca": files.CA,
	}, nil)

	ledger := harness.NewLedger()
	watch := &harness.Watch{From: http.StatusInternalServerError}
	talking, quiet := context.WithCancel(ctx)
	defer quiet()
	var senders sync.WaitGroup
	for person := range replicaPersons {
		senders.Go(func() { converse(ctx, talking, t, clientsOf(w.Cluster, watch), w.setup.ChannelID, person, ledger) })
	}
	for process := range w.Size() {
		authority.IssueTo(t, folder, names...)
		require.NoError(t, w.Restart(ctx, process))
	}
	quiet()
	senders.Wait()
	accepted, total := ledger.Accepted(), 0
	for _, texts := range accepted {
		total += len(texts)
	}
	require.NoError(t, w.receiver.WaitCount(ctx, total))
	require.NoError(t, harness.CheckOrder(w.receiver.First(), accepted))
	require.Equal(t, len(w.receiver.First()), len(w.receiver.All()), "what was in flight was finished: nothing arrives twice")
	require.Empty(t, watch.Faults())
	t.Logf("%d messages, %d times 503 with Retry-After", total, watch.Leaving())
}

// clientsOf makes a client of each gateway; watch may be nil.
func clientsOf(cluster *harness.Cluster, watch *harness.Watch) (clients []*harness.Client) {
	for _, gateway := range cluster.Gateways {
		client := harness.NewClient(gateway)
		if watch != nil {
			watch.Over(client)
		}
		clients = append(clients, client)
	}
	return clients
}

// converse sends a person's messages, each until one of the gateways has
// acknowledged it, as long as talking goes on.
func converse(ctx, talking context.Context, t *testing.T, clients []*harness.Client, channelID string, person int, ledger *harness.Ledger) {
	for _, client := range clients {
		defer client.Close()
	}
	name := fmt.Sprintf("person-%d", person)
	for i := 0; talking.Err() == nil; i++ {
		if err := ledger.Say(ctx, clients, channelID, name, i); err != nil {
			t.Error(err)
			return
		}
		time.Sleep(betweenWords)
	}
}

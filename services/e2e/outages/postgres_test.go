package outages

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// post sends a message and gives the status and the Retry-After of the answer.
func post(ctx context.Context, gateway, channelID, person, text string) (status int, retry string, err error) {
	body, err := json.Marshal(map[string]string{"channelId": channelID, "clientIdentifier": person, "type": "text", "text": text})
	if err != nil {
		return 0, "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/webhooks/api", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", text)
	response, err := crowded.Do(request)
	if err != nil {
		return 0, "", err
	}
	return response.StatusCode, response.Header.Get("Retry-After"), response.Body.Close()
}

// crowded is for callers of whom there are many at once.
var crowded = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}

// TestPostgresKilledUnderLoad kills PostgreSQL under two processes of every role while people talk, twice. Meanwhile everybody gets 503
// with Retry-After; when it is back all processes are ready again by themselves. Nothing acknowledged is lost
// (I1), answered twice (I2), or out of order (I5).
func TestPostgresKilledUnderLoad(t *testing.T) {
	ctx := harness.Within(t, 3*time.Minute)
	t.Cleanup(crowded.CloseIdleConnections)
	outages := 2
	if testing.Short() {
		outages = 1
	}
	server := testkit.MortalPostgres(t)
	cluster := startTwice(ctx, t, server.URL, nil)
	setup, receiver := setUp(ctx, t, cluster.HTTP)
	people := gather(ctx, cluster, setup.ChannelID, 10)
	people.goOn(ctx, t, 100)
	for range outages {
		server.Kill(t)
		_, before := people.state()
		require.Eventually(t, func() bool { _, refused := people.state(); return refused >= before+20 }, 30*time.Second, 10*time.Millisecond,
			"people are told to come back, and not kept waiting")
		for _, gateway := range cluster.Gateways {
			until(ctx, t, gateway+"/livez", http.StatusOK)
		}
		server.Start(t)
		require.NoError(t, cluster.WaitReady(ctx))
		people.goOn(ctx, t, 100)
	}
	people.hush(ctx, t, receiver, 2*outages)
}

// TestASlowStoreWithFewConnections has a store that stands still, and a pool of two connections, while more people call than a gateway
// carries out at once. Those beyond are turned away; those that are in are stored when the store goes on, and those alone.
func TestASlowStoreWithFewConnections(t *testing.T) {
	const places, beyond = 256, 60
	ctx := harness.Within(t, 2*time.Minute)
	t.Cleanup(crowded.CloseIdleConnections)
	database := testkit.Postgres(t)
	harness.Migrate(ctx, t, binary, database)
	prosa, err := harness.Start(ctx, harness.Spec{Binary: binary, Settings: map[string]string{
		"data-dir": t.TempDir(), "database-url": database + "&pool_max_conns=2", "retry-schedule": manyRetries,
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, prosa.Stop()) })
	setup, receiver := setUp(ctx, t, prosa.HTTP)
	status, _, err := post(ctx, prosa.HTTP, setup.ChannelID, "first", "first message 0") // what is known of the channel is remembered
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, receiver.WaitCount(ctx, 1))

	conn, err := pgx.Connect(ctx, database)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	stand, err := conn.Begin(ctx)
	require.NoError(t, err)
	_, err = stand.Exec(ctx, "LOCK TABLE channel.message IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)

	answers := make(chan int, places+beyond)
	var callers sync.WaitGroup
	for n := range places + beyond {
		callers.Go(func() {
			name := "person-" + string(rune('a'+n%26)) + "-" + string(rune('a'+n/26))
			status, retry, err := post(ctx, prosa.HTTP, setup.ChannelID, name, name+" message 0")
			if err != nil || status == http.StatusServiceUnavailable && retry == "" {
				status = 0
			}
			answers <- status
		})
	}
	for range beyond {
		require.Equal(t, http.StatusServiceUnavailable, <-answers)
	}
	require.Empty(t, answers, "all that fit are in")
	until(ctx, t, prosa.HTTP+"/livez", http.StatusOK)
	require.NoError(t, stand.Rollback(ctx))
	callers.Wait()
	for range places {
		require.Equal(t, http.StatusOK, <-answers)
	}
	require.NoError(t, receiver.WaitCount(ctx, 1+places))
	var stored int
	require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM channel.delivery").Scan(&stored))
	require.Equal(t, 1+places, stored, "what was turned away was not stored")
}

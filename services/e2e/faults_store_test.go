package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// TestStoreNotMigratedYet starts a process before `prosa migrate` was run: it
// waits, says what to run, and goes on by itself when that was done.
func TestStoreNotMigratedYet(t *testing.T) {
	ctx := harness.Within(t, time.Minute)
	database := testkit.Postgres(t)
	prosa := launch(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir(), "database-url": database}})
	until(ctx, t, prosa.Metrics+"/readyz", func(status int, body string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(body, "prosa migrate")
	})
	until(ctx, t, prosa.Metrics+"/livez", func(status int, _ string) bool { return status == http.StatusOK })
	harness.Migrate(t.Context(), t, binary, database)
	require.NoError(t, prosa.WaitReady(ctx))

	client, receiver := clientOf(t, prosa), receive(t, nil)
	setup := setUp(ctx, t, client, receiver.URL)
	say(ctx, t, client, setup.ChannelID, "person", "hello")
	require.NoError(t, receiver.WaitCount(ctx, 1))
}

// TestStoreOutOfReach starts a process whose database cannot be reached, lets
// it reach it, cuts the connections under load, and joins them again. The
// process stays up; when it is not ready it says so without naming host or
// password; and every message that was acknowledged is answered once.
func TestStoreOutOfReach(t *testing.T) {
	const persons, password = 5, "swordfish-of-the-database"
	ctx := harness.Within(t, 2*time.Minute)
	database, err := url.Parse(testkit.Postgres(t))
	require.NoError(t, err)
	harness.Migrate(t.Context(), t, binary, database.String())
	relay, err := harness.NewRelay(database.Host)
	require.NoError(t, err)
	t.Cleanup(relay.Cut)
	database.Host = relay.Addr
	secret, given := database.User.Password()
	if !given { // a server that trusts loopback does not look at it
		secret = password
		database.User = url.UserPassword(database.User.Username(), secret)
	}
	prosa := launch(t, harness.Spec{Settings: map[string]string{
		"data-dir": t.TempDir(), "database-url": database.String(), "retry-schedule": quickRetries,
	}})
	_, port, found := strings.Cut(relay.Addr, ":")
	require.True(t, found)
	notReady := func(status int, body string) bool {
		for _, hidden := range []string{secret, relay.Addr, "127.0.0.1", port, database.User.Username() + ":"} {
			require.NotContains(t, body, hidden)
		}
		return status == http.StatusServiceUnavailable
	}
	until(ctx, t, prosa.Metrics+"/livez", func(status int, _ string) bool { return status == http.StatusOK })
	until(ctx, t, prosa.Metrics+"/readyz", func(status int, body string) bool {
		return notReady(status, body) && strings.Contains(body, "the store does not answer")
	})
	require.NoError(t, relay.Join())
	require.NoError(t, prosa.WaitReady(ctx))

	client, receiver := clientOf(t, prosa), receive(t, nil)
	setup := setUp(ctx, t, client, receiver.URL)
	ledger := harness.NewLedger()
	var senders sync.WaitGroup
	for person := range persons {
		senders.Go(func() { sendAll(ctx, client, setup.ChannelID, person, ledger) })
	}
	require.NoError(t, ledger.Wait(ctx, persons*killMessages/4))
	relay.Cut()
	until(ctx, t, prosa.Metrics+"/readyz", notReady)
	until(ctx, t, prosa.HTTP+"/readyz", notReady)
	until(ctx, t, prosa.Metrics+"/livez", func(status int, _ string) bool { return status == http.StatusOK })
	status, _, err := client.Send(ctx, setup.ChannelID, "person-0", "sent into the void", "void")
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NoError(t, relay.Join())
	require.NoError(t, prosa.WaitReady(ctx))
	senders.Wait()
	require.NoError(t, receiver.WaitCount(ctx, persons*killMessages))
	checkArrivals(t, receiver, ledger.Accepted())
	require.NotContains(t, prosa.Output(), secret)
}

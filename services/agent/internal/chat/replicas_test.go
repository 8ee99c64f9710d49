package chat_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/replica"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// among is a chat service among others on a PostgreSQL; kill ends it as kill -9 does.
func among(t *testing.T, options sqldb.Options) (f *fixture, kill func()) {
	t.Helper()
	f = &fixture{db: testkit.Open(t, options), clock: clock.System()}
	f.store = store.New(f.db)
	f.runner = &teller{store: f.store, tell: said("oi")}
	fellows, err := replica.New(replica.Options{
		Store: "agent", DB: f.db, IDs: id.NewSource(f.clock, nil), Clock: f.clock, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Metrics: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	deps := f.deps(t)
	deps.Shared, deps.Holder, deps.Tell = true, fellows.Holder(), fellows.Tell
	f.start(t, deps)
	for _, topic := range []string{chat.TopicEnded, chat.TopicStop, chat.TopicOrphans} {
		fellows.On(topic, func(subject string) { f.Heard(topic, subject) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- fellows.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	require.Eventually(t, func() bool { return fellows.Token() != 0 }, 20*time.Second, time.Millisecond)
	return f, func() { require.NoError(t, f.db.Close()) }
}

// TestTurnsOfADeadProcessGoOn: long before its lease ends, of which the process that goes on knows only that it is over.
func TestTurnsOfADeadProcessGoOn(t *testing.T) {
	options := testkit.Options(t, sqldb.Postgres, store.Migrations(), "agent")
	one, kill := among(t, options)
	one.createAgent(t)
	two, _ := among(t, options)
	conversation := one.conversation(t)
	tell, let, began := held()
	one.runner.set(tell)
	two.runner.set(said("agora"))
	first := one.say(t, conversation, "um")
	<-began
	followed, err := two.Find(t.Context(), "acme", conversation, first.ID)
	require.NoError(t, err)
	events, ended := following(t, followed)
	died := time.Now()
	kill()
	await(t, ended)
	t.Logf("answered %v after the death", time.Since(died))
	require.Equal(t, "agora", text(*events))
	close(let)
}

// Package replicas runs several processes of each role on one PostgreSQL, and
// looks at what they do for each other.
package replicas

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

var binary string

func TestMain(m *testing.M) { harness.Main(m, &binary) }

// world is two processes of every role, and who talks to them.
type world struct {
	*harness.Cluster
	databaseURL string
	receiver    *harness.Receiver
	clients     []*harness.Client
	setup       harness.Setup
}

// start starts it, with settings besides; the receiver answers as answer says.
func start(ctx context.Context, t *testing.T, besides map[string]string, answer func(harness.Delivery) (int, string)) *world {
	t.Helper()
	w := &world{databaseURL: testkit.Postgres(t)}
	w.Cluster = harness.StartTwice(ctx, t, binary, w.databaseURL, besides)
	var err error
	w.receiver, err = harness.NewReceiver(answer)
	require.NoError(t, err)
	t.Cleanup(w.receiver.Close)
	w.clients = clientsOf(w.Cluster, nil)
	for _, client := range w.clients {
		t.Cleanup(client.Close)
	}
	w.setup, err = w.clients[0].Create(ctx, "replicas", harness.Echo, w.receiver.URL, false)
	require.NoError(t, err)
	return w
}

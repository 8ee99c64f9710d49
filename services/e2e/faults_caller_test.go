package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestRepetitions sends one message many times at once with one key: it is one
// message; and equal texts without a key: each is one.
func TestRepetitions(t *testing.T) {
	const atOnce = 50
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, time.Minute)
		prosa := start(t, harness.Spec{Settings: settings})
		client, receiver := clientOf(t, prosa), receive(t, nil)
		setup := setUp(ctx, t, client, receiver.URL)
		type outcome struct {
			status int
			id     string
			err    error
		}
		outcomes := make([]outcome, atOnce)
		var group sync.WaitGroup
		begin := make(chan struct{})
		for i := range outcomes {
			group.Go(func() {
				<-begin
				o := &outcomes[i]
				o.status, o.id, o.err = client.Send(ctx, setup.ChannelID, "person", "the same", "one key")
			})
		}
		close(begin)
		group.Wait()
		seen, ids := map[int]int{}, map[string]bool{}
		for _, o := range outcomes {
			require.NoError(t, o.err)
			seen[o.status]++
			if o.status == http.StatusOK {
				ids[o.id] = true
			}
		}
		t.Logf("statuses: %v", seen)
		require.Equal(t, atOnce, seen[http.StatusOK]+seen[http.StatusConflict], "first answer or still in flight: %v", seen)
		require.Len(t, ids, 1, "all answers are of one message")
		status, id, err := client.Send(ctx, setup.ChannelID, "person", "the same", "one key")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		require.True(t, ids[id], "a later repetition has the first answer")
		status, _, err = client.Send(ctx, setup.ChannelID, "person", "another", "one key")
		require.NoError(t, err)
		require.Equal(t, http.StatusUnprocessableEntity, status)

		say(ctx, t, client, setup.ChannelID, "person", "twice")
		say(ctx, t, client, setup.ChannelID, "person", "twice")
		require.NoError(t, receiver.WaitCount(ctx, 3))
		values := untilMetrics(ctx, t, prosa, conserved)
		require.EqualValues(t, 3, values["prosa_channel_messages_accepted_total"])
		require.Equal(t, map[string][]string{"the": {"the same"}, "twice": {"twice", "twice"}}, textsByPerson(t, receiver.All()))
	})
}

// TestLongLane lets thousands of one person's messages wait, and then answers
// them: they arrive in the order in which they were accepted.
func TestLongLane(t *testing.T) {
	const waiting = 2000
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, 2*time.Minute)
		silent := maps.Clone(settings)
		silent["turns"] = "false"
		prosa := start(t, harness.Spec{Settings: silent})
		client, receiver := clientOf(t, prosa), receive(t, nil)
		setup := setUp(ctx, t, client, receiver.URL)
		want := map[string][]string{}
		for i := range waiting {
			text := fmt.Sprintf("person message %d", i)
			want["person"] = append(want["person"], text)
			say(ctx, t, client, setup.ChannelID, "person", text)
		}
		require.Empty(t, receiver.All())
		require.NoError(t, prosa.Stop())

		start(t, harness.Spec{Settings: settings})
		began := time.Now()
		require.NoError(t, receiver.WaitCount(ctx, waiting))
		t.Logf("%d answers of one lane in %s", waiting, time.Since(began))
		checkArrivals(t, receiver, want)
		require.Len(t, receiver.All(), waiting)
	})
}

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestKillDuringAReplay kills the process with -9, several times, while dead
// deliveries are sent again: each arrives (I4), in sequence within its
// conversation (I5), with its first webhook-id and body, and at most what was
// under way arrives twice.
func TestKillDuringAReplay(t *testing.T) {
	const (
		persons, each = 20, 10
		all           = persons * each
		inFlight      = 4 // redeliveries to one endpoint
	)
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, killWithin)
		settings["retry-schedule"] = "10ms"
		var mended atomic.Bool
		var n atomic.Int64
		receiver := receive(t, func(harness.Delivery) (int, string) {
			if mended.Load() {
				time.Sleep(5 * time.Millisecond) // so that a kill finds something under way
				return http.StatusOK, `{"status":"ok"}`
			}
			if n.Add(1)%9 == 0 { // the breaker stays closed
				return http.StatusOK, `{"status":"ok"}`
			}
			return http.StatusInternalServerError, ""
		})
		cluster, err := harness.StartTogether(ctx, binary, settings)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, cluster.Stop()) })
		client := harness.NewClient(cluster.HTTP)
		t.Cleanup(client.Close)
		setup := setUp(ctx, t, client, receiver.URL)
		var senders sync.WaitGroup
		for person := range persons {
			senders.Go(func() {
				for i := range each {
					say(ctx, t, client, setup.ChannelID, fmt.Sprint("person-", person), fmt.Sprint("message ", i))
				}
			})
		}
		senders.Wait()
		require.NoError(t, receiver.WaitCount(ctx, all))
		base := "/v1/instances/" + setup.Instance + "/deliveries"
		count := func(state string) int {
			var page struct{ Deliveries []struct{ ID string } }
			require.NoError(t, client.Call(ctx, http.MethodGet, base+"?pageSize=500&state="+state, nil, &page))
			return len(page.Deliveries)
		}
		require.Eventually(t, func() bool { return count("PENDING") == 0 }, stepWithin, queryPause)
		dead := count("DEAD")
		require.Greater(t, dead, all/2)

		before := len(receiver.All())
		mended.Store(true)
		var replayed struct{ Count int }
		require.NoError(t, client.Call(ctx, http.MethodPost, base+":replay", map[string]any{"endpointId": setup.ChannelID}, &replayed))
		require.Equal(t, dead, replayed.Count)
		for kill := range kills {
			require.NoError(t, receiver.Wait(ctx, func(got []harness.Delivery) bool { return len(receiver.All()) >= before+(kill+1)*dead/(kills+2) }))
			require.NoError(t, cluster.KillAndRestart(0))
			require.NoError(t, cluster.WaitReady(ctx))
		}
		require.Eventually(t, func() bool { return count("DELIVERED") == all }, killWithin, queryPause)

		last, seen := map[string]int64{}, map[string]string{}
		for _, d := range receiver.All()[before:] {
			if body, ok := seen[d.ID]; ok {
				require.Equal(t, body, string(d.Body))
				continue
			}
			seen[d.ID] = string(d.Body)
			require.Greater(t, d.Sequence, last[d.InteractionID], "in sequence")
			last[d.InteractionID] = d.Sequence
		}
		require.Len(t, seen, dead)
		for _, d := range receiver.All()[:before] {
			if body, ok := seen[d.ID]; ok {
				require.Equal(t, string(d.Body), body, "the body of the first attempt")
			}
		}
		twice := len(receiver.All()) - before - dead
		t.Logf("%d deliveries were sent again, %d of them twice", dead, twice)
		require.LessOrEqual(t, twice, kills*inFlight)
	})
}

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// conserved says that metrics agree with I3: every accepted message is
// answered, set aside, cancelled, erased or waits, and so is every delivery.
func conserved(values map[string]float64) bool {
	turns := func(outcome string) float64 { return values[`prosa_channel_turns_total{outcome="`+outcome+`"}`] }
	deliveries := func(state string) float64 { return values[`prosa_channel_deliveries_total{state="`+state+`"}`] }
	return values["prosa_channel_messages_accepted_total"] ==
		turns("answered")+turns("set_aside")+values["prosa_channel_messages_cancelled_total"]+values["prosa_channel_messages_erased_total"]+
			values["prosa_channel_messages_pending"] &&
		deliveries("queued")+deliveries("requeued") == deliveries("delivered")+deliveries("dead")+deliveries("cancelled")+deliveries("erased")+
			values["prosa_channel_deliveries_pending"]
}

// TestConservation checks I3 on the metrics after deliveries that arrive, that
// die, that are sent again and arrive then, and that are cancelled with their
// channel.
func TestConservation(t *testing.T) {
	t.Parallel() // it waits for counts that are up to 5 s old
	const each = 20
	eachStore(t, func(t *testing.T, settings map[string]string) {
		t.Parallel()
		ctx := harness.Within(t, time.Minute)
		settings["retry-schedule"] = "100ms,100ms"
		prosa := start(t, harness.Spec{Settings: settings})
		client, healthy := clientOf(t, prosa), receive(t, nil)
		// Every second message of a person finds it broken, so that its breaker stays closed.
		var mended atomic.Bool
		broken := receive(t, func(d harness.Delivery) (int, string) {
			if mended.Load() || bytes.Contains(d.Body, []byte("0 good")) {
				return http.StatusOK, `{"status":"ok"}`
			}
			return http.StatusInternalServerError, ""
		})
		gone := receive(t, func(harness.Delivery) (int, string) { return http.StatusGone, "" })
		kept := setUp(ctx, t, client, healthy.URL)
		channels := []string{kept.ChannelID}
		for _, receiver := range []*harness.Receiver{broken, gone} {
			var made struct{ ID string }
			fields := map[string]any{"agentId": kept.AgentID, "webhookUrl": receiver.URL}
			require.NoError(t, client.Call(ctx, http.MethodPost, "/v1/instances/"+kept.Instance+"/channels", fields, &made))
			channels = append(channels, made.ID)
		}
		for i := range each {
			for _, channel := range channels {
				say(ctx, t, client, channel, fmt.Sprintf("person-%d", i%3), fmt.Sprintf("message %d good", i%2))
			}
		}
		const delivered, dead, cancelled = `prosa_channel_deliveries_total{state="delivered"}`,
			`prosa_channel_deliveries_total{state="dead"}`, `prosa_channel_deliveries_total{state="cancelled"}`
		const answered = `prosa_channel_turns_total{outcome="answered"}`
		// 410 disabled the last channel: its queue waits, until it is deleted.
		untilMetrics(ctx, t, prosa, func(values map[string]float64) bool {
			return conserved(values) && values[answered] == 3*each && values[delivered] == each+each/2 && values[dead] == each/2
		})
		mended.Store(true)
		var replayed struct{ Count int }
		replay := "/v1/instances/" + kept.Instance + "/deliveries:replay"
		require.NoError(t, client.Call(ctx, http.MethodPost, replay, map[string]any{"endpointId": channels[1]}, &replayed))
		require.Equal(t, each/2, replayed.Count)
		untilMetrics(ctx, t, prosa, func(values map[string]float64) bool { return conserved(values) && values[delivered] == 2*each })
		require.NoError(t, client.Call(ctx, http.MethodDelete, "/v1/instances/"+kept.Instance+"/channels/"+channels[2], nil, nil))
		values := untilMetrics(ctx, t, prosa, func(values map[string]float64) bool { return conserved(values) && values[cancelled] == each })
		require.EqualValues(t, 3*each, values["prosa_channel_messages_accepted_total"])
		require.Zero(t, values["prosa_channel_deliveries_pending"])
		require.Zero(t, values["prosa_channel_messages_pending"])
		require.Len(t, healthy.All(), each)
		require.Len(t, broken.All(), each/2+3*each/2+each/2, "what it took, each attempt that the schedule has, and what was sent again")
		require.Len(t, broken.First(), each, "by the same ids")
	})
}

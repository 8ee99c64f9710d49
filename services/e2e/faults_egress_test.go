package e2e

import (
	"maps"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// TestInnerTargets checks that webhooks do not go where they must not: inner
// addresses in their spellings are refused when a channel is saved, and those
// that were allowed then and no longer are when they are dialled. Then
// nobody is connected to, and the delivery is not lost.
func TestInnerTargets(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, time.Minute)
		settings["retry-schedule"] = "200ms,200ms,200ms,200ms,200ms,200ms,1h"
		watch := canary(t)
		receiver := receive(t, nil)
		target, err := url.Parse(receiver.URL)
		require.NoError(t, err)
		_, watched, err := net.SplitHostPort(watch.addr)
		require.NoError(t, err)

		allowed := start(t, harness.Spec{Settings: settings})
		client := clientOf(t, allowed)
		setup := setUp(ctx, t, client, "http://"+watch.addr+"/hook")
		path := "/v1/instances/" + setup.Instance + "/channels"
		var named struct{ ID string }
		fields := map[string]any{"agentId": setup.AgentID, "webhookUrl": "http://localhost:" + watched + "/hook"}
		require.NoError(t, client.Call(ctx, http.MethodPost, path, fields, &named))
		require.NoError(t, allowed.Stop())

		closed := maps.Clone(settings)
		closed["egress-allow"] = ""
		forbidden := start(t, harness.Spec{Settings: closed})
		client = clientOf(t, forbidden)
		for _, spelling := range []string{
			"127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]",
			"[2002:7f00:1::]", "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "168.63.129.16", "[fd00:ec2::254]", "127.0.0.1.", "１２７.0.0.1", "localhost",
		} {
			fields := map[string]any{"agentId": setup.AgentID, "webhookUrl": "http://" + spelling + ":" + watched + "/hook"}
			err := client.Call(ctx, http.MethodPost, path, fields, nil)
			require.ErrorContains(t, err, "status 400", spelling)
			require.ErrorContains(t, err, "WEBHOOK_URL_REFUSED", spelling)
		}
		say(ctx, t, client, setup.ChannelID, "person", "by address")
		say(ctx, t, client, named.ID, "person", "by name")
		refused := `prosa_channel_delivery_attempts_total{outcome="refused_target"}`
		values := untilMetrics(ctx, t, forbidden, func(values map[string]float64) bool { return values[refused] >= 6 })
		require.Zero(t, values[`prosa_channel_deliveries_total{state="dead"}`])
		require.Zero(t, watch.count.Load(), "nobody was connected to")
		require.NoError(t, forbidden.Stop())

		// What was accepted while the target was forbidden arrives when another
		// is given.
		last := start(t, harness.Spec{Settings: settings})
		client = clientOf(t, last)
		for _, id := range []string{setup.ChannelID, named.ID} {
			require.NoError(t, client.Call(ctx, http.MethodPatch, path+"/"+id, map[string]any{"webhookUrl": target.String()}, nil))
		}
		require.NoError(t, receiver.WaitCount(ctx, 2))
	})
}

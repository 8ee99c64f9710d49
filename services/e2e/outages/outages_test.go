package outages

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// binary is prosa, built once.
var binary string

func TestMain(m *testing.M) { harness.Main(m, &binary) }

// manyRetries is a schedule that outlasts an outage.
const manyRetries = "100ms,200ms,500ms,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s"

// startTwice starts two processes of every role on a database.
func startTwice(ctx context.Context, t *testing.T, databaseURL string, besides map[string]string) *harness.Cluster {
	t.Helper()
	settings := map[string]string{"retry-schedule": manyRetries}
	maps.Copy(settings, besides)
	return harness.StartTwice(ctx, t, binary, databaseURL, settings)
}

// setUp makes an instance with an echoing agent, a channel and a receiver of its webhooks.
func setUp(ctx context.Context, t *testing.T, gateway string) (harness.Setup, *harness.Receiver) {
	t.Helper()
	receiver, err := harness.NewReceiver(nil)
	require.NoError(t, err)
	t.Cleanup(receiver.Close)
	client := harness.NewClient(gateway)
	defer client.Close()
	setup, err := client.Create(ctx, "outages", harness.Echo, receiver.URL, false)
	require.NoError(t, err)
	return setup, receiver
}

// until asks until an answer has the status.
func until(ctx context.Context, t *testing.T, url string, status int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		if response.StatusCode == status {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			require.NoError(t, ctx.Err(), "%s is %d and not %d", url, response.StatusCode, status)
		}
	}
}

// crowd are people who talk by all gateways until they are quiet.
type crowd struct {
	mu       sync.Mutex
	accepted map[string][]string
	count    int
	refused  int      // 503 with Retry-After
	faults   []string // any other answer that is not 200

	talking sync.WaitGroup
	quiet   context.CancelFunc
}

// gather has so many people talk. Each message is sent, with its key, until it is acknowledged.
func gather(ctx context.Context, cluster *harness.Cluster, channelID string, people int) *crowd {
	talking, quiet := context.WithCancel(ctx)
	c := &crowd{accepted: map[string][]string{}, quiet: quiet}
	for person := range people {
		c.talking.Go(func() { c.talk(ctx, talking, cluster.Gateways, channelID, person) })
	}
	return c
}

func (c *crowd) talk(ctx, talking context.Context, gateways []string, channelID string, person int) {
	name := fmt.Sprintf("person-%d", person)
	for i := 0; talking.Err() == nil; i++ {
		text := fmt.Sprintf("%s message %d", name, i)
		for try := person; !c.say(ctx, gateways[try%len(gateways)], channelID, name, text); try++ {
			if ctx.Err() != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // a person who tries again
		}
		c.mu.Lock()
		c.accepted[name] = append(c.accepted[name], text)
		c.count++
		c.mu.Unlock()
	}
}

// say sends a message once and reports whether it was acknowledged.
func (c *crowd) say(ctx context.Context, gateway, channelID, person, text string) bool {
	status, retry, err := post(ctx, gateway, channelID, person, text)
	if err != nil || status == http.StatusOK {
		return err == nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if status == http.StatusServiceUnavailable && retry != "" {
		c.refused++
	} else {
		c.faults = append(c.faults, fmt.Sprintf("%d, Retry-After %q", status, retry))
	}
	return false
}

// state is how many messages were acknowledged and how often one was refused.
func (c *crowd) state() (accepted, refused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.refused
}

// goOn waits until so many messages more are acknowledged.
func (c *crowd) goOn(ctx context.Context, t *testing.T, messages int) {
	t.Helper()
	before, _ := c.state()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if now, _ := c.state(); now >= before+messages {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			require.NoError(t, ctx.Err(), "people are not answered any more")
		}
	}
}

// hush has people say nothing new, and waits for their last words. Then every acknowledged message is answered, first arrivals are in
// order without a gap, what arrives twice has one body, and there was no answer but 200 and 503 with Retry-After.
func (c *crowd) hush(ctx context.Context, t *testing.T, receiver *harness.Receiver, outages int) {
	t.Helper()
	c.quiet()
	c.talking.Wait()
	require.NoError(t, ctx.Err())
	require.NoError(t, receiver.WaitCount(ctx, c.count), "acknowledged messages without an answer")
	require.Empty(t, c.faults)

	bodies, arrived, sequences := map[string]string{}, map[string][]string{}, map[string]int64{}
	repeated := 0
	for _, delivery := range receiver.All() {
		if body, ok := bodies[delivery.ID]; ok {
			require.Equal(t, body, string(delivery.Body))
			repeated++
		}
		bodies[delivery.ID] = string(delivery.Body)
	}
	for _, delivery := range receiver.First() {
		sequences[delivery.InteractionID]++
		require.Equal(t, sequences[delivery.InteractionID], delivery.Sequence, "no gap and no inversion")
		var content struct{ Messages []struct{ Text string } }
		require.NoError(t, json.Unmarshal(delivery.Body, &content))
		var person string
		var number int
		_, err := fmt.Sscanf(content.Messages[0].Text, "eco: %s message %d", &person, &number)
		require.NoError(t, err)
		arrived[person] = append(arrived[person], fmt.Sprintf("%s message %d", person, number))
	}
	require.Equal(t, c.accepted, arrived, "every acknowledged message is answered once, in order")
	require.LessOrEqual(t, repeated, outages*len(slices.Collect(maps.Keys(c.accepted))), "what arrived twice was under way at an outage")
	t.Logf("%d messages, %d times 503 with Retry-After, %d arrived twice", c.count, c.refused, repeated)
}

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// quickRetries is a schedule for tests: many attempts within seconds.
const quickRetries = "100ms,100ms,200ms,200ms,400ms,400ms,800ms,800ms,1s,1s,1s,1s,1s,1s,1s,1s"

// launch starts prosa without waiting, and stops it after the test; what it
// wrote is shown when the test failed.
func launch(t *testing.T, spec harness.Spec) *harness.Process {
	t.Helper()
	spec.Binary = binary
	process, err := harness.Launch(spec)
	require.NoError(t, err)
	stopAfter(t, process)
	return process
}

// again starts a process that has ended as before, and waits until it is ready.
func again(t *testing.T, process *harness.Process) *harness.Process {
	t.Helper()
	next, err := process.Again()
	require.NoError(t, err)
	stopAfter(t, next)
	require.NoError(t, next.WaitReady(t.Context()))
	return next
}

func stopAfter(t *testing.T, process *harness.Process) {
	t.Cleanup(func() {
		err := process.Stop()
		if t.Failed() {
			t.Logf("prosa wrote:\n%s", process.Output())
		}
		require.NoError(t, err)
	})
}

// clientOf calls a process until the end of the test.
func clientOf(t *testing.T, process *harness.Process) *harness.Client {
	client := harness.NewClient(process.HTTP)
	t.Cleanup(client.Close)
	return client
}

// receive starts a receiver until the end of the test; answer nil acknowledges
// all.
func receive(t *testing.T, answer func(harness.Delivery) (int, string)) *harness.Receiver {
	t.Helper()
	receiver, err := harness.NewReceiver(answer)
	require.NoError(t, err)
	t.Cleanup(receiver.Close)
	return receiver
}

// setUp makes an instance with an echoing agent and a channel to a URL.
func setUp(ctx context.Context, t *testing.T, client *harness.Client, webhookURL string) harness.Setup {
	t.Helper()
	setup, err := client.Create(ctx, fmt.Sprintf("faults-%d", instances.Add(1)), harness.Echo, webhookURL, false)
	require.NoError(t, err)
	return setup
}

// say sends a message that is acknowledged at once.
func say(ctx context.Context, t *testing.T, client *harness.Client, channelID, person, text string) {
	t.Helper()
	status, _, err := client.Send(ctx, channelID, person, text, "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
}

// get asks once.
func get(ctx context.Context, t *testing.T, url string) (status int, body string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// until asks a URL until the answer is as wanted.
func until(ctx context.Context, t *testing.T, url string, wanted func(status int, body string) bool) {
	t.Helper()
	var status int
	var body string
	for {
		var err error
		if status, body, err = get(ctx, t, url); err == nil && wanted(status, body) {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			require.Fail(t, "the answer did not come in time", "%s: last %d %s (%v)", url, status, body, err)
		}
	}
}

// metrics are the values of a process's metrics, by name with labels.
func metrics(ctx context.Context, t *testing.T, process *harness.Process) map[string]float64 {
	t.Helper()
	status, body, err := get(ctx, t, process.Metrics+"/metrics")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	values := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "#") || !found {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		require.NoError(t, err, line)
		values[name] = number
	}
	return values
}

// untilMetrics reads metrics until they are as wanted.
func untilMetrics(ctx context.Context, t *testing.T, process *harness.Process, wanted func(map[string]float64) bool) map[string]float64 {
	t.Helper()
	for {
		values := metrics(ctx, t, process)
		if wanted(values) {
			return values
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			for name, value := range values {
				if strings.HasPrefix(name, "prosa_channel") {
					t.Log(name, value)
				}
			}
			require.Fail(t, "the metrics did not become as wanted")
		}
	}
}

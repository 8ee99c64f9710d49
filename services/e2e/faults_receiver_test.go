package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

const (
	acknowledged = `{"status":"ok"}`
	// promptly is how soon an answer arrives that nothing holds up, on a slow
	// machine; a delivery that waited for another's time-out takes 15 s.
	promptly = 3 * time.Second
)

// TestReceiverFaults has receivers misbehave on the first attempts of each
// delivery: nothing is lost, the order is kept, and each attempt has the same
// webhook-id and body.
func TestReceiverFaults(t *testing.T) {
	const persons, messages = 3, 3
	faults := []struct {
		name string
		// attempts is how many of each delivery fail.
		attempts int
		// first says that only the first delivery of a conversation fails.
		first bool
		// answer is how they fail; hang ends with the test.
		answer func(hang <-chan struct{}) (int, string)
	}{
		{name: "answers 500", attempts: 3, answer: says(http.StatusInternalServerError, "")},
		{name: "asks to slow down", attempts: 1, answer: says(http.StatusTooManyRequests, "")},
		{name: "answers 200 without an acknowledgement", attempts: 1, answer: says(http.StatusOK, `{"status":"error"}`)},
		{name: "answers 200 with something else", attempts: 1, answer: says(http.StatusOK, "<html>")},
		{name: "answers more than is read", attempts: 1, answer: says(http.StatusOK, strings.Repeat(" ", 1<<20)+acknowledged)},
		{name: "answers 308", attempts: 1, answer: says(http.StatusPermanentRedirect, acknowledged)},
		{name: "drops the connection", attempts: 2, answer: func(<-chan struct{}) (int, string) { panic(http.ErrAbortHandler) }},
		{name: "never answers", attempts: 1, first: true, answer: func(hang <-chan struct{}) (int, string) {
			<-hang
			return http.StatusInternalServerError, ""
		}},
	}
	eachStore(t, func(t *testing.T, settings map[string]string) {
		settings["retry-schedule"] = quickRetries
		prosa := start(t, harness.Spec{Settings: settings})
		client := clientOf(t, prosa)
		for _, fault := range faults {
			t.Run(fault.name, func(t *testing.T) {
				t.Parallel()
				ctx := harness.Within(t, time.Minute)
				hang := make(chan struct{})
				attempts := newAttempts()
				receiver := receive(t, func(d harness.Delivery) (int, string) {
					if attempts.begin(d) <= fault.attempts && (!fault.first || d.Sequence == 1) {
						return fault.answer(hang)
					}
					attempts.settle(d)
					return http.StatusOK, acknowledged
				})
				t.Cleanup(func() { close(hang) })
				setup := setUp(ctx, t, client, receiver.URL)
				path := "/v1/instances/" + setup.Instance + "/channels/" + setup.ChannelID
				require.NoError(t, client.Call(ctx, http.MethodPatch, path, map[string]string{"timeout": "1s"}, nil))
				want := map[string][]string{}
				for i := range messages {
					for person := range persons {
						name := fmt.Sprintf("person-%d", person)
						text := fmt.Sprintf("%s message %d", name, i)
						want[name] = append(want[name], text)
						say(ctx, t, client, setup.ChannelID, name, text)
					}
				}
				require.NoError(t, receiver.Wait(ctx, func([]harness.Delivery) bool { return attempts.settledCount() == persons*messages }))
				require.Equal(t, want, textsByPerson(t, receiver.First()))
				attempts.check(t, receiver.All(), func(d harness.Delivery) int {
					if fault.first && d.Sequence > 1 {
						return 1
					}
					return fault.attempts + 1
				})
			})
		}
	})
}

func says(status int, body string) func(<-chan struct{}) (int, string) {
	return func(<-chan struct{}) (int, string) { return status, body }
}

// attempts keeps what a receiver saw of each delivery.
type attempts struct {
	mu      sync.Mutex
	made    map[string]int
	settled map[string]int64 // by conversation: the last sequence acknowledged
	count   int
	early   []string // attempts that came before their predecessor was settled
}

func newAttempts() *attempts {
	return &attempts{made: map[string]int{}, settled: map[string]int64{}}
}

// begin gives the number of this attempt, from 1.
func (a *attempts) begin(d harness.Delivery) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.settled[d.InteractionID] != d.Sequence-1 {
		a.early = append(a.early, fmt.Sprintf("sequence %d after %d", d.Sequence, a.settled[d.InteractionID]))
	}
	a.made[d.ID]++
	return a.made[d.ID]
}

func (a *attempts) settle(d harness.Delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled[d.InteractionID] = d.Sequence
	a.count++
}

func (a *attempts) settledCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

// check compares all attempts with how many each delivery needed.
func (a *attempts) check(t *testing.T, all []harness.Delivery, needed func(harness.Delivery) int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Empty(t, a.early, "n+1 is not attempted before n is settled")
	bodies := map[string]string{}
	for _, d := range all {
		require.Equal(t, needed(d), a.made[d.ID])
		if body, ok := bodies[d.ID]; ok {
			require.Equal(t, body, string(d.Body), "an attempt has the first one's body")
		}
		bodies[d.ID] = string(d.Body)
	}
}

// textsByPerson are the texts that a person got back, in order.
func textsByPerson(t *testing.T, deliveries []harness.Delivery) map[string][]string {
	t.Helper()
	texts := map[string][]string{}
	for _, d := range deliveries {
		var content struct{ Messages []struct{ Text string } }
		require.NoError(t, json.Unmarshal(d.Body, &content))
		text := strings.TrimPrefix(content.Messages[0].Text, "eco: ")
		name, _, _ := strings.Cut(text, " ")
		texts[name] = append(texts[name], text)
	}
	return texts
}

// TestDeadEndpoint checks I6: beside an endpoint that takes connections and
// answers nothing, with a queue of hundreds, another one gets its answers
// promptly.
func TestDeadEndpoint(t *testing.T) {
	const queued, prompt = 300, 30
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, time.Minute)
		prosa := start(t, harness.Spec{Settings: settings})
		client, receiver := clientOf(t, prosa), receive(t, nil)
		dead := canary(t)
		lost := setUp(ctx, t, client, "http://"+dead.addr+"/hook")
		setup := setUp(ctx, t, client, receiver.URL)
		for i := range queued {
			say(ctx, t, client, lost.ChannelID, fmt.Sprintf("lost-%d", i), "hello")
		}
		require.Eventually(t, func() bool { return dead.count.Load() > 0 }, stepWithin, 10*time.Millisecond)
		var took []time.Duration
		for i := range prompt {
			began := time.Now()
			say(ctx, t, client, setup.ChannelID, fmt.Sprintf("person-%d", i), "hello")
			require.NoError(t, receiver.WaitCount(ctx, i+1))
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("answers beside a dead endpoint: median %s, slowest %s", took[len(took)/2], took[len(took)-1])
		require.Less(t, took[len(took)-1], promptly)
	})
}

// counted is a listener that takes connections, counts them, and answers
// nothing.
type counted struct {
	addr  string
	count atomic.Int64
}

// canary listens on loopback until the end of the test.
func canary(t *testing.T) *counted {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &counted{addr: listener.Addr().String()}
	var open []net.Conn
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open = append(open, conn)
			c.count.Add(1)
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		<-ended
		for _, conn := range open {
			_ = conn.Close() // the other side may be gone
		}
	})
	return c
}

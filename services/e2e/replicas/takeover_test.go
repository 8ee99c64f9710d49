package replicas

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

const (
	// takenUpWithin is far below the 15 seconds after which a lease ends by
	// itself, and far above what is wanted, which the test logs.
	takenUpWithin = 5 * time.Second
	persons       = 40
)

// slowReceiver keeps the first attempt of each delivery until it is released,
// and acknowledges every other one at once.
type slowReceiver struct {
	release chan struct{}

	mu       sync.Mutex
	attempts map[string]int
	again    []time.Time // when a delivery came once more
}

func (r *slowReceiver) answer(d harness.Delivery) (int, string) {
	r.mu.Lock()
	r.attempts[d.ID]++
	first := r.attempts[d.ID] == 1
	if !first {
		r.again = append(r.again, time.Now())
	}
	r.mu.Unlock()
	if first {
		<-r.release
	}
	return http.StatusOK, `{"status":"ok"}`
}

func (r *slowReceiver) repeated() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.again...)
}

// TestDeliveriesOfADeadReplicaGoOn kills one of two channel processes (kill -9)
// while both have deliveries under way. What the dead one had is delivered by the
// other, the first of it long before the leases end.
func TestDeliveriesOfADeadReplicaGoOn(t *testing.T) {
	t.Parallel()
	ctx := harness.Within(t, 2*time.Minute)
	slow := &slowReceiver{release: make(chan struct{}), attempts: make(map[string]int)}
	released := sync.OnceFunc(func() { close(slow.release) })
	w := start(ctx, t, nil, slow.answer)
	defer released() // else the receiver would not end

	for person := range persons {
		status, _, err := w.clients[person%2].Send(ctx, w.setup.ChannelID, fmt.Sprint("person-", person), "oi", "")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	require.NoError(t, w.receiver.WaitCount(ctx, persons))
	channels := w.Of("channel")
	killed, had := channels[0], metric(ctx, t, channels[0], "prosa_channel_deliveries_in_flight")
	kept := metric(ctx, t, channels[1], "prosa_channel_deliveries_in_flight")
	require.Equal(t, persons, had+kept)
	require.Positive(t, had, "both have some")
	require.Positive(t, kept, "both have some")

	died := time.Now()
	killed.Kill()
	require.NoError(t, w.receiver.Wait(ctx, func([]harness.Delivery) bool { return len(slow.repeated()) == had }),
		"what it had under way comes once more")
	first, last := slow.repeated()[0].Sub(died), slow.repeated()[had-1].Sub(died)
	t.Logf("of %d deliveries under way the first was made again after %v, the last after %v", had, first, last)
	require.Less(t, first, takenUpWithin)

	released()
	require.NoError(t, w.Replace(ctx, killed))
	for person := range persons {
		status, _, err := w.clients[person%2].Send(ctx, w.setup.ChannelID, fmt.Sprint("person-", person), "tudo bem?", "")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	require.NoError(t, w.receiver.WaitCount(ctx, 2*persons))
	require.Len(t, w.receiver.All(), 2*persons+had, "nothing else came twice")
}

// TestCutConnectionsLoseNothing cuts, again and again, the connections by which
// the processes hear of each other and of each other's death, while people talk:
// nothing is lost, and answers come in order.
func TestCutConnectionsLoseNothing(t *testing.T) {
	t.Parallel()
	ctx := harness.Within(t, 2*time.Minute)
	const (
		cuts   = 15 // some when a connection has just come back, some later
		people = 10
	)
	w := start(ctx, t, nil, nil)
	server, err := pgx.Connect(ctx, w.databaseURL)
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Close(context.WithoutCancel(ctx))) }()

	talking, quiet := context.WithCancel(ctx)
	defer quiet()
	var said [people]int
	var talkers sync.WaitGroup
	for person := range people {
		talkers.Go(func() {
			for ; talking.Err() == nil; said[person]++ {
				name, text := fmt.Sprint("person-", person), fmt.Sprint("message ", said[person])
				status, _, err := w.clients[(person+said[person])%2].Send(ctx, w.setup.ChannelID, name, text, "")
				if err != nil || status != http.StatusOK {
					t.Errorf("message is not taken: %d, %v", status, err)
					return
				}
			}
		})
	}
	total := 0
	for cut := range cuts {
		var n int
		require.NoError(t, server.QueryRow(ctx, `
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'prosa-%-session'`).Scan(&n))
		total += n
		time.Sleep(time.Duration(100+40*cut) * time.Millisecond)
	}
	quiet()
	talkers.Wait()
	require.GreaterOrEqual(t, total, cuts, "there are such connections, and they come back")
	messages := 0
	for _, n := range said {
		messages += n
	}
	require.NoError(t, w.receiver.WaitCount(ctx, messages))
	next := map[string]int64{}
	for _, d := range w.receiver.First() {
		next[d.InteractionID]++
		require.Equal(t, next[d.InteractionID], d.Sequence, "answers of a conversation are in order")
	}
	require.Len(t, next, people)
	t.Logf("%d messages, %d connections cut, %d deliveries came twice", messages, total, len(w.receiver.All())-messages)
}

// metric is the value of a metric of a process that has no labels.
func metric(ctx context.Context, t *testing.T, process *harness.Process, name string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, process.Metrics+"/metrics", nil)
	require.NoError(t, err)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			number, err := strconv.Atoi(value)
			require.NoError(t, err)
			return number
		}
	}
	require.FailNow(t, "no such metric", name)
	return 0
}

package outages

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// askers query contacts with one key by all gateways, and note when each query that was carried out began and ended.
type askers struct {
	mu       sync.Mutex
	answered []span
	faults   []int // statuses but 404 (there is nobody) and 429

	asking sync.WaitGroup
	stop   context.CancelFunc
}

type span struct{ began, ended time.Time }

func askAll(ctx context.Context, gateways []string, setup harness.Setup) *askers {
	ctx, stop := context.WithCancel(ctx)
	a := &askers{stop: stop}
	for _, gateway := range gateways {
		for range 2 {
			a.asking.Go(func() {
				for ctx.Err() == nil {
					a.ask(ctx, gateway, setup)
					time.Sleep(5 * time.Millisecond) // as a client that does not stop
				}
			})
		}
	}
	return a
}

func (a *askers) ask(ctx context.Context, gateway string, setup harness.Setup) {
	began := time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/contacts/"+setup.Instance, strings.NewReader(`{}`))
	if err != nil {
		return
	}
	request.Header.Set("X-Api-Key", setup.Key)
	request.Header.Set("Content-Type", "application/json")
	response, err := crowded.Do(request)
	if err != nil {
		return // stopped in the middle
	}
	_ = response.Body.Close() // nothing more is wanted of it
	a.mu.Lock()
	defer a.mu.Unlock()
	switch response.StatusCode {
	case http.StatusOK, http.StatusNotFound:
		a.answered = append(a.answered, span{began, time.Now()})
	case http.StatusTooManyRequests:
	default:
		a.faults = append(a.faults, response.StatusCode)
	}
}

// since is how many queries were carried out that began after a moment.
func (a *askers) since(moment time.Time) (count int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.answered {
		if q.began.After(moment) {
			count++
		}
	}
	return count
}

// requireLimit checks that no second holds more than limit queries. When each was let through is not known, only that it was between its
// begin and its end.
func (a *askers) requireLimit(t *testing.T, limit int) {
	t.Helper()
	slices.SortFunc(a.answered, func(x, y span) int { return x.ended.Compare(y.ended) })
	for last := limit; last < len(a.answered); last++ {
		first := slices.MinFunc(a.answered[last-limit:last+1], func(x, y span) int { return x.began.Compare(y.began) })
		require.GreaterOrEqual(t, a.answered[last].ended.Sub(first.began), time.Second, "%d queries in a second", limit+1)
	}
}

// TestRedisGoneUnderLoad takes Redis away from two processes of every role while people talk and a key asks more than it may, and gives it
// back, empty. People notice nothing. The key is granted little meanwhile, all of its limit again afterwards, and never more (I10).
func TestRedisGoneUnderLoad(t *testing.T) {
	const limit = 10
	ctx := harness.Within(t, 3*time.Minute)
	t.Cleanup(crowded.CloseIdleConnections)
	outages := 2
	if testing.Short() {
		outages = 1
	}
	redis := testkit.Redis(t)
	cluster := startTwice(ctx, t, testkit.Postgres(t), map[string]string{"redis-url": redis.URL})
	setup, receiver := setUp(ctx, t, cluster.HTTP)
	people := gather(ctx, cluster, setup.ChannelID, 5)
	keys := askAll(ctx, cluster.Gateways, setup)
	granted := func(queries int, why string) {
		t.Helper()
		now := time.Now()
		require.Eventually(t, func() bool { return keys.since(now) >= queries }, 30*time.Second, 10*time.Millisecond, why)
	}
	granted(2*limit, "with Redis")
	for range outages {
		redis.Kill(t)
		people.goOn(ctx, t, 50)
		granted(4, "without Redis a little is granted")
		redis.Start(t)
		granted(2*limit, "Redis is back")
	}
	keys.stop()
	keys.asking.Wait()
	people.hush(ctx, t, receiver, 0)
	require.Zero(t, people.refused, "whoever talks has nothing to do with Redis")
	require.Empty(t, keys.faults)
	keys.requireLimit(t, limit)
	t.Logf("%d queries answered over %d outages of Redis", len(keys.answered), outages)
}

package deliveries

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// slowStore has lanes of two deliveries each, all due at once, and stores
// results only when it is told to.
type slowStore struct {
	Store   // what is not called
	channel *store.Channel
	settle  chan struct{}

	mu    sync.Mutex
	lanes []store.Lane
}

func (s *slowStore) ChannelByID(context.Context, string) (*store.Channel, error) {
	return s.channel, nil
}

func (s *slowStore) BotAPIByID(context.Context, string) (*store.BotAPI, error) {
	return nil, store.ErrBotAPINotFound
}

func (s *slowStore) endpoint() store.Endpoint {
	return store.Endpoint{Instance: s.channel.Instance, ID: s.channel.ID}
}

func (s *slowStore) ReadyEndpoints(context.Context, time.Time) ([]store.Endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lanes) == 0 {
		return nil, nil
	}
	return []store.Endpoint{s.endpoint()}, nil
}

func (s *slowStore) ClaimLanes(_ context.Context, claims []store.Claim, _, _ time.Time) ([]store.Lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(claims[0].Limit, len(s.lanes))
	taken := s.lanes[:n]
	s.lanes = s.lanes[n:]
	return taken, nil
}

func (s *slowStore) RenewLane(context.Context, store.LaneKey, int64, time.Time) error { return nil }

func (s *slowStore) Settle(ctx context.Context, d *store.Delivery, _ int64, _ time.Time) (store.Settled, error) {
	select {
	case <-s.settle:
		return store.Settled{More: d.Sequence == 1}, nil
	case <-ctx.Done():
		return store.Settled{}, ctx.Err()
	}
}

func lanes(channel *store.Channel, names ...string) (all []store.Lane) {
	for _, name := range names {
		lane := store.Lane{LaneKey: store.LaneKey{Instance: channel.Instance, EndpointID: channel.ID, InteractionID: name}, Epoch: 1}
		for n := range 2 {
			lane.Pending = append(lane.Pending, store.Delivery{LaneKey: lane.LaneKey, Sequence: int64(n + 1), ID: name, Body: []byte(name), State: store.Pending})
		}
		all = append(all, lane)
	}
	return all
}

func TestAReceiverHasAsManyExchangesAsItMayWhileResultsAreStored(t *testing.T) {
	arrived, answer := make(chan string), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.Header.Get("webhook-id") + r.Header.Get("prosa-sequence")
		<-answer
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	}))
	defer receiver.Close()
	box, err := secretbox.New("a secret key of more than 32 bytes for tests")
	require.NoError(t, err)
	secret, err := signing.New(nil).Seal(box, directory.SecretContext("acme", "c"))
	require.NoError(t, err)
	channel := &store.Channel{Instance: "acme", ID: "c", WebhookURL: receiver.URL, State: store.Active, Timeout: time.Minute, Secret: secret}
	s := &slowStore{channel: channel, settle: make(chan struct{}), lanes: lanes(channel, "a", "b", "c")}
	client := &http.Client{Transport: &http.Transport{}}
	w, err := New(Config{Pool: 8, PerEndpoint: 1, Lease: time.Minute, Poll: time.Hour, Grace: time.Minute, Schedule: webhook.DefaultSchedule()}, Deps{
		Store: s, Client: client, Directory: directory.New(s, box, clock.System(), func(string) {}), Clock: clock.System(),
		Logger:  slog.New(slog.DiscardHandler),
		Metrics: prometheus.NewRegistry(), Count: NewCount(), Recover: func(context.Context) error { return nil },
		Full: func(store.Endpoint) {},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()

	// One exchange at a time, but no result has to be stored for the next one.
	for _, want := range []string{"a1", "b1", "c1"} {
		require.Equal(t, want, <-arrived)
		require.Zero(t, w.endpoints.room("c"))
		answer <- struct{}{}
	}
	// A lane's own next one waits for its result, and then for its turn.
	s.settle <- struct{}{}
	first := <-arrived
	s.settle <- struct{}{}
	s.settle <- struct{}{}
	seen := []string{first}
	for range 2 {
		answer <- struct{}{}
		seen = append(seen, <-arrived)
	}
	answer <- struct{}{}
	require.ElementsMatch(t, []string{"a2", "b2", "c2"}, seen)
	for range 3 {
		s.settle <- struct{}{}
	}
	stop()
	require.NoError(t, <-ended)
	require.Empty(t, w.endpoints.known)
}

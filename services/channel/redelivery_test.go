package channel_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// buried makes conversations with deliveries that are dead, past the workers,
// which must not run.
func (r *rig) buried(c *channelv1.Channel, conversations, each int) {
	r.t.Helper()
	ids := id.NewSource(r.clock, nil)
	var group errgroup.Group
	group.SetLimit(64)
	for range conversations {
		group.Go(func() error {
			now := r.clock.Now()
			until := now.Add(time.Hour)
			m := &store.Message{
				ThreadKey: store.ThreadKey{Instance: "acme", ChannelID: c.GetId(), ClientIdentifier: ids.New()}, ID: ids.New(), Text: "oi", CreateTime: now,
			}
			accepted, err := r.store.Accept(r.t.Context(), m, nil, until)
			if err != nil {
				return err
			}
			turn := &store.Turn{
				ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, Seq: 1, ContactID: ids.New(), InteractionID: ids.New(), HoldLane: until,
			}
			for range each {
				turn.Answer = append(turn.Answer, store.Outgoing{ID: ids.NewOrdered(), Body: []byte(`{"interactionId":"` + turn.InteractionID + `"}`)})
			}
			finished, err := r.store.FinishTurn(r.t.Context(), turn, now)
			if err != nil {
				return err
			}
			for _, d := range finished.Lane.Pending {
				d.State = store.Dead
				if _, err := r.store.Settle(r.t.Context(), &d, finished.Lane.Epoch, now); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(r.t, group.Wait())
}

// TestAReplayOfManyLeavesLiveMessagesAlone replays 10,000 dead deliveries to the
// webhook that live messages go to. These overtake them, and what is sent again
// has few places.
func TestAReplayOfManyLeavesLiveMessagesAlone(t *testing.T) {
	const conversations, each, people, messages = 500, 20, 30, 900
	r := newRig(t, onSQLite(t))
	c := r.create()
	r.buried(c, conversations, each)
	var (
		mu                 sync.Mutex
		again, most, ended int
		sent               = map[string]time.Time{}
		took               = map[bool][]time.Duration{} // by whether the replay was on
		replaying          atomic.Bool
		arrived            = make(chan struct{}, 2*messages)
	)
	r.receiver.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body := make([]byte, request.ContentLength)
		_, _ = request.Body.Read(body)
		live := len(body) > 60
		mu.Lock()
		if live {
			took[replaying.Load()] = append(took[replaying.Load()], time.Since(sent[string(body[14:38])+request.Header.Get("Prosa-Sequence")]))
		} else {
			again++
			most = max(most, again)
		}
		mu.Unlock()
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // the receiver's work
		mu.Lock()
		if !live {
			again--
			ended++
		}
		mu.Unlock()
		acknowledge(w)
		if live {
			arrived <- struct{}{}
		}
	})
	r.start()
	converse := func(round int) {
		pace := time.NewTicker(4 * time.Millisecond)
		defer pace.Stop()
		for i := range messages {
			person := fmt.Sprint("p", i%people)
			mu.Lock()
			sent[contactOf(person)+fmt.Sprint(round*messages/people+i/people+1)] = time.Now()
			mu.Unlock()
			r.send(c, person, "oi")
			<-pace.C
		}
		for range messages {
			<-arrived
		}
	}
	converse(0)
	replaying.Store(true)
	require.Equal(t, conversations*each, r.replay(c))
	converse(1)
	mu.Lock()
	left := conversations*each - ended
	mu.Unlock()
	require.Positive(t, left, "live messages do not wait for the end of the replay")
	require.Eventually(t, func() bool { return r.backlog().Deliveries == 0 }, 4*time.Minute, 50*time.Millisecond)

	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, conversations*each, ended, "each is sent again once")
	require.LessOrEqual(t, most, 4)
	p99 := func(all []time.Duration) time.Duration { slices.Sort(all); return all[len(all)*99/100] }
	without, with := p99(took[false]), p99(took[true])
	t.Logf("p99 of live messages: %s without a replay, %s with; %d of %d still to be sent when the last one arrived", without, with, left, conversations*each)
	require.Less(t, with, 3*without+250*time.Millisecond)
}

func TestRedeliveriesSurviveRestartsInTheMiddle(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(channel.Config{Poll: 5 * time.Millisecond, StopGrace: time.Millisecond, RedeliveriesPerEndpoint: 8}))
		c := r.create()
		const conversations, each = 12, 8
		r.buried(c, conversations, each)
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n%11 == 0 {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			acknowledge(w)
		})
		r.start()
		require.Equal(t, conversations*each, r.replay(c))
		for n := range 5 {
			r.receiver.await(t, 8+16*n)
			r.restart()
		}
		r.receiver.answer(nil)
		r.eventually(func() bool {
			// What waits for a retry is due later than a test lasts.
			_, err := db.Exec1(t.Context(), `UPDATE redelivery_lane SET next_time = 0 WHERE waiting > 0 AND lease_until = 0 AND next_time > 0`)
			require.NoError(t, err)
			return r.backlog().Deliveries == 0
		}, "everything is sent again")
		r.stop()
		seen, known := map[string][]string{}, map[string]bool{}
		for _, h := range r.receiver.await(t, conversations*each) {
			require.NoError(t, h.bad)
			if webhookID := h.header.Get("webhook-id"); !known[webhookID] {
				known[webhookID] = true
				seen[h.body] = append(seen[h.body], h.header.Get("Prosa-Sequence"))
			}
		}
		require.Len(t, known, conversations*each)
		for _, sequence := range seen {
			for i, number := range sequence {
				require.Equal(t, fmt.Sprint(i+1), number)
			}
		}
		for _, d := range r.list(&channelv1.ListDeliveriesRequest{}) {
			require.Equal(t, channelv1.Delivery_DELIVERED, d.GetState())
		}
	})
}

func TestAfterAKillRedeliveriesGoOn(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual))
		c := r.create()
		r.buried(c, 1, 2)
		require.Equal(t, 2, r.replay(c))
		// A process took it, sent the first one, and was killed before it could say so.
		taken, err := r.store.ClaimRedeliveries(t.Context(), []store.Claim{{Endpoint: store.Endpoint{Instance: "acme", ID: c.GetId()}, Limit: 4}},
			noon, noon.Add(15*time.Second))
		require.NoError(t, err)
		require.Len(t, taken, 1)
		r.start()
		if db.Dialect() == sqldb.Postgres {
			// Another process may hold it: only the end of the lease tells.
			r.advance(14 * time.Second)
			require.Zero(t, r.receiver.count())
		}
		r.pump(manual, time.Second, func() bool { return r.receiver.count() >= 2 }, "sent again")
		got := r.receiver.await(t, 2)
		require.Equal(t, "1", got[0].header.Get("Prosa-Sequence"))
		r.drained()
	})
}

func TestAnInterruptedRedeliveryIsNoFailedAttempt(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(channel.Config{Poll: 5 * time.Millisecond, StopGrace: 5 * time.Millisecond}))
		c := r.create()
		r.buried(c, 1, 1)
		hang := make(chan struct{})
		release := sync.OnceFunc(func() { close(hang) })
		t.Cleanup(release)
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n == 1 {
				<-hang
			}
			acknowledge(w)
		})
		r.start()
		r.replay(c)
		r.receiver.await(t, 1)
		r.stop()
		d := r.list(&channelv1.ListDeliveriesRequest{})[0]
		require.Equal(t, channelv1.Delivery_PENDING, d.GetState())
		require.Empty(t, d.GetAttempts())
		require.NotNil(t, d.GetNextAttemptTime(), "it was given back")
		release()
		r.build()
		r.start()
		r.receiver.await(t, 2)
		r.drained()
	})
}

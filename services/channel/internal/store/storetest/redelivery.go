package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// settleAll ends all deliveries of a channel that are pending.
func settleAll(t *testing.T, s *store.Store, c *store.Channel, state store.DeliveryState, now time.Time) {
	t.Helper()
	for {
		held := claimLanes(t, s, c, now, 100)
		if len(held) == 0 {
			return
		}
		for _, l := range held {
			settled := l.SettledSeq
			for more := true; more; {
				pending, err := s.Deliveries(t.Context(), l.LaneKey, settled, 1)
				require.NoError(t, err)
				d := pending[0]
				d.State, d.AttemptCount, d.Attempts = state, 2, []byte(`[{"error":"status"},{"error":"status"}]`)
				result, err := s.Settle(t.Context(), &d, l.Epoch, now)
				require.NoError(t, err)
				more, settled = result.More, d.Sequence
			}
		}
	}
}

// dead makes a lane with n deliveries that are dead.
func dead(t *testing.T, s *store.Store, c *store.Channel, interaction string, n int) []store.Delivery {
	t.Helper()
	key := lane(t, s, c, interaction, n, at(0))
	settleAll(t, s, c, store.Dead, at(1))
	return deliveries(t, s, key)
}

func claimRedeliveries(t *testing.T, s *store.Store, c *store.Channel, now time.Time, limit int) []store.Redelivery {
	t.Helper()
	all, err := s.ClaimRedeliveries(t.Context(), []store.Claim{{Endpoint: endpoint(c), Limit: limit}}, now, now.Add(lease))
	require.NoError(t, err)
	return all
}

func sendAgain(t *testing.T, s *store.Store, d store.Delivery, now time.Time) {
	t.Helper()
	again, err := s.SendAgain(t.Context(), d.Instance, d.ID, now)
	require.NoError(t, err)
	require.True(t, again)
}

func next(t *testing.T, s *store.Store, key store.LaneKey) store.Delivery {
	t.Helper()
	d, ok, err := s.NextRedelivery(t.Context(), key)
	require.NoError(t, err)
	require.True(t, ok)
	return d
}

var redeliveryCases = []Case{
	{"what is sent again goes in sequence, with what it had and a new count", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		all := dead(t, s, c, "i", 3)
		none, err := s.ReadyRedeliveries(t.Context(), at(9))
		require.NoError(t, err)
		require.Empty(t, none)
		sendAgain(t, s, all[2], at(2))
		sendAgain(t, s, all[0], at(3))
		require.Equal(t, []store.DeliveryState{store.Pending, store.Dead, store.Pending}, states(deliveries(t, s, all[0].LaneKey)))
		require.EqualValues(t, 2, backlog(t, s).Deliveries)
		require.Equal(t, at(2), backlog(t, s).OldestDelivery)
		require.Empty(t, claimLanes(t, s, c, at(99), 5), "the lane has nothing to do with it")
		ready, err := s.ReadyRedeliveries(t.Context(), at(3))
		require.NoError(t, err)
		require.Equal(t, []store.Endpoint{endpoint(c)}, ready)

		held := claimRedeliveries(t, s, c, at(3), 5)
		require.Len(t, held, 1, "one conversation is one")
		require.Empty(t, claimRedeliveries(t, s, c, at(3), 5))
		first := next(t, s, held[0].LaneKey)
		require.Equal(t, all[0].ID, first.ID)
		require.Equal(t, all[0].Body, first.Body)
		require.Zero(t, first.AttemptCount)
		require.JSONEq(t, string(all[0].Attempts), string(first.Attempts))
		require.Zero(t, first.SettleTime)
		first.State = store.Delivered
		more, err := s.SettleRedelivery(t.Context(), &first, held[0].Epoch, at(4))
		require.NoError(t, err)
		require.True(t, more)
		_, err = s.SettleRedelivery(t.Context(), &first, held[0].Epoch, at(4))
		require.ErrorIs(t, err, store.ErrLeaseLost, "not twice")
		require.EqualValues(t, 1, backlog(t, s).Deliveries)
		third := next(t, s, held[0].LaneKey)
		require.Equal(t, all[2].ID, third.ID)
		third.State, third.AttemptCount = store.Dead, 1
		more, err = s.SettleRedelivery(t.Context(), &third, held[0].Epoch, at(5))
		require.NoError(t, err)
		require.False(t, more)
		require.Equal(t, []store.DeliveryState{store.Delivered, store.Dead, store.Dead}, states(deliveries(t, s, all[0].LaneKey)))
		require.Equal(t, at(5), deliveries(t, s, all[0].LaneKey)[2].SettleTime)
		_, ok, err := s.NextRedelivery(t.Context(), held[0].LaneKey)
		require.NoError(t, err)
		require.False(t, ok)
		require.Zero(t, backlog(t, s).Deliveries)
		sendAgain(t, s, all[2], at(6))
		require.Equal(t, held[0].Epoch+1, claimRedeliveries(t, s, c, at(6), 5)[0].Epoch, "an old holder stays an old one")
		require.Equal(t, at(6), backlog(t, s).OldestDelivery)
	}},
	{"a redelivery that fails waits, and its conversation with it", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		all := dead(t, s, c, "i", 2)
		sendAgain(t, s, all[0], at(2))
		held := claimRedeliveries(t, s, c, at(2), 1)[0]
		d := next(t, s, held.LaneKey)
		d.AttemptCount, d.Attempts = 1, []byte(`[{}]`)
		require.NoError(t, s.RetryRedelivery(t.Context(), &d, held.Epoch, at(5000)))
		require.ErrorIs(t, s.RetryRedelivery(t.Context(), &d, held.Epoch, at(5000)), store.ErrLeaseLost)
		require.Empty(t, claimRedeliveries(t, s, c, at(4999), 1))
		require.Equal(t, 1, next(t, s, held.LaneKey).AttemptCount)
		held = claimRedeliveries(t, s, c, at(5000), 1)[0]
		require.NoError(t, s.RenewRedelivery(t.Context(), held.LaneKey, held.Epoch, at(5000).Add(2*lease)))
		sendAgain(t, s, all[1], at(5001))
		require.Empty(t, claimRedeliveries(t, s, c, at(5000).Add(lease), 1), "it is held")
		require.NoError(t, s.ReleaseRedelivery(t.Context(), held.LaneKey, held.Epoch, at(6000)))
		require.ErrorIs(t, s.RenewRedelivery(t.Context(), held.LaneKey, held.Epoch, at(99999)), store.ErrLeaseLost)
		old := claimRedeliveries(t, s, c, at(6000), 1)[0]
		held = claimRedeliveries(t, s, c, at(6000).Add(lease), 1)[0]
		require.Equal(t, old.Epoch+1, held.Epoch)
		d.State = store.Delivered
		_, err := s.SettleRedelivery(t.Context(), &d, old.Epoch, at(7000))
		require.ErrorIs(t, err, store.ErrLeaseLost)
		require.ErrorIs(t, s.RetryRedelivery(t.Context(), &d, old.Epoch, at(7000)), store.ErrLeaseLost)
		require.ErrorIs(t, s.ReleaseRedelivery(t.Context(), old.LaneKey, old.Epoch, at(7000)), store.ErrLeaseLost)
		require.NoError(t, s.VoidLeases(t.Context(), at(7000)))
		_, err = s.SettleRedelivery(t.Context(), &d, held.Epoch, at(7000))
		require.ErrorIs(t, err, store.ErrLeaseLost)
		require.Len(t, claimRedeliveries(t, s, c, at(7000), 1), 1, "a start takes it back at once")
	}},
	{"a delivery is sent again from each state that allows it", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := lane(t, s, c, "i", 1, at(0))
		settleAll(t, s, c, store.Delivered, at(1))
		delivered := deliveries(t, s, key)[0]
		sendAgain(t, s, delivered, at(2))
		again, err := s.SendAgain(t.Context(), "acme", delivered.ID, at(3))
		require.NoError(t, err)
		require.False(t, again, "it is pending already")
		require.EqualValues(t, 1, backlog(t, s).Deliveries)

		// What waits for its next attempt is due at once, live or again.
		lane(t, s, c, "live", 2, at(4))
		held := claimLanes(t, s, c, at(4), 1)[0]
		first, second := held.Pending[0], held.Pending[1]
		require.NoError(t, s.Retry(t.Context(), &first, held.Epoch, at(99999)))
		again, err = s.SendAgain(t.Context(), "acme", second.ID, at(5))
		require.NoError(t, err)
		require.False(t, again)
		require.Empty(t, claimLanes(t, s, c, at(5), 1), "it is not its turn")
		_, err = s.SendAgain(t.Context(), "acme", first.ID, at(5))
		require.NoError(t, err)
		require.Len(t, claimLanes(t, s, c, at(5), 1), 1)
		r := claimRedeliveries(t, s, c, at(5), 1)[0]
		waits := next(t, s, r.LaneKey)
		require.NoError(t, s.RetryRedelivery(t.Context(), &waits, r.Epoch, at(99999)))
		_, err = s.SendAgain(t.Context(), "acme", delivered.ID, at(6))
		require.NoError(t, err)
		require.Len(t, claimRedeliveries(t, s, c, at(6), 1), 1)

		_, err = s.SendAgain(t.Context(), "other", delivered.ID, at(7))
		require.ErrorIs(t, err, store.ErrDeliveryNotFound, "another instance's")
		_, err = s.SendAgain(t.Context(), "acme", "nothing", at(7))
		require.ErrorIs(t, err, store.ErrDeliveryNotFound)
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(8)))
		_, err = s.SendAgain(t.Context(), "acme", delivered.ID, at(9))
		require.ErrorIs(t, err, store.ErrNotRetryable)
	}},
	{"the delivery for which a lane is parked goes before what waits behind it", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		for i, again := range []func(store.Delivery){
			func(d store.Delivery) { sendAgain(t, s, d, at(5)) },
			func(store.Delivery) {
				got, err := s.Replay(t.Context(), store.Replay{Endpoint: endpoint(c), States: []store.DeliveryState{store.Dead}}, "", at(5))
				require.NoError(t, err)
				require.Equal(t, 1, got.Count)
			},
		} {
			lane(t, s, c, fmt.Sprint("i", i), 2, at(0))
			held := claimLanes(t, s, c, at(1), 1)[0]
			d := held.Pending[0]
			d.State, d.AttemptCount = store.Dead, 3
			require.NoError(t, s.ParkLane(t.Context(), &d, held.Epoch, at(2)))
			require.EqualValues(t, 1, backlog(t, s).Deliveries)
			again(d)
			require.EqualValues(t, 2, backlog(t, s).Deliveries)
			require.Empty(t, claimRedeliveries(t, s, c, at(9), 1))
			held = claimLanes(t, s, c, at(5), 1)[0]
			require.Len(t, held.Pending, 2)
			require.Equal(t, d.ID, held.Pending[0].ID)
			require.Zero(t, held.Pending[0].AttemptCount)
			for _, d := range held.Pending {
				d.State = store.Delivered
				_, err := s.Settle(t.Context(), &d, held.Epoch, at(6))
				require.NoError(t, err)
			}
			require.Zero(t, backlog(t, s).Deliveries)
		}
	}},
	{"a paused endpoint keeps what is to be sent again, and resumes with it", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		all := dead(t, s, c, "i", 1)
		sendAgain(t, s, all[0], at(2))
		held := claimRedeliveries(t, s, c, at(2), 1)[0]
		d := next(t, s, held.LaneKey)
		require.NoError(t, s.RetryRedelivery(t.Context(), &d, held.Epoch, at(99999)))
		_, err := s.SetState(t.Context(), "acme", c.ID, store.Active, store.Paused, "", at(3))
		require.NoError(t, err)
		done, err := s.Due(t.Context(), endpoint(c), at(4))
		require.NoError(t, err)
		require.True(t, done)
		ready, err := s.ReadyRedeliveries(t.Context(), at(4))
		require.NoError(t, err)
		require.Empty(t, ready)
		_, err = s.SetState(t.Context(), "acme", c.ID, store.Paused, store.Active, "", at(5))
		require.NoError(t, err)
		ready, err = s.ReadyRedeliveries(t.Context(), at(5))
		require.NoError(t, err)
		require.Len(t, ready, 1)
	}},
	{"what is to be sent again is cancelled with its channel", func(t *testing.T, s *store.Store) {
		c, other := create(t, s, "acme", 1), create(t, s, "acme", 2)
		long := dead(t, s, c, "long", 1000)
		var all []store.Delivery
		for i := range 40 {
			all = append(all, dead(t, s, c, fmt.Sprint("i", i), 1)...)
		}
		kept := dead(t, s, other, "i", 1)[0]
		for _, d := range append(append(all, kept), long[100:]...) {
			sendAgain(t, s, d, at(2))
		}
		live := lane(t, s, c, "long", 1, at(3))
		held := claimRedeliveries(t, s, c, at(4), 100)
		require.Len(t, held, 41)
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(50)))
		var cancelled int64
		batches := 0
		for done := false; !done; batches++ {
			n, none, err := s.CancelRedeliveries(t.Context(), endpoint(c), at(60))
			require.NoError(t, err)
			require.LessOrEqual(t, n, int64(1000))
			cancelled += n
			done = none
		}
		require.EqualValues(t, 900+40, cancelled)
		require.Greater(t, batches, 2)
		after := deliveries(t, s, long[0].LaneKey)
		require.Equal(t, store.Dead, after[99].State)
		require.Equal(t, store.Cancelled, after[100].State)
		require.Equal(t, at(60), after[100].SettleTime)
		late, err := s.Deliveries(t.Context(), live, 1000, 1)
		require.NoError(t, err)
		require.Equal(t, store.Pending, late[0].State, "that is for CancelLanes")
		for _, r := range held {
			_, err := s.SettleRedelivery(t.Context(), &store.Delivery{LaneKey: r.LaneKey, Sequence: 1, State: store.Delivered}, r.Epoch, at(61))
			require.ErrorIs(t, err, store.ErrLeaseLost)
		}
		require.EqualValues(t, 2, backlog(t, s).Deliveries, "the other channel's, and the live one")
		require.Len(t, claimRedeliveries(t, s, other, at(99), 5), 1)
	}},
	{"a replay takes the oldest first, in short batches, each once", func(t *testing.T, s *store.Store) {
		c, other := create(t, s, "acme", 1), create(t, s, "acme", 2)
		for i := range 6 {
			dead(t, s, c, fmt.Sprint("i", i), 100)
		}
		dead(t, s, other, "i", 5)
		lane(t, s, c, "delivered", 7, at(3))
		settleAll(t, s, c, store.Delivered, at(4))
		lane(t, s, c, "live", 1, at(5))

		replay := func(states ...store.DeliveryState) (counts []int) {
			after := ""
			for {
				got, err := s.Replay(t.Context(), store.Replay{Endpoint: endpoint(c), States: states}, after, at(6))
				require.NoError(t, err)
				require.LessOrEqual(t, got.Count, 250)
				counts = append(counts, got.Count)
				if got.Done {
					return counts
				}
				require.Greater(t, got.Last, after)
				after = got.Last
			}
		}
		require.Equal(t, []int{250, 250, 100}, replay(store.Dead))
		require.Equal(t, []int{0}, replay(store.Dead), "all are pending")
		require.EqualValues(t, 601, backlog(t, s).Deliveries)
		held := claimRedeliveries(t, s, c, at(6), 100)
		require.Len(t, held, 6)
		require.EqualValues(t, 1, next(t, s, held[0].LaneKey).Sequence)
		sum := 0
		for _, n := range replay(store.Dead, store.Delivered) {
			sum += n
		}
		require.Equal(t, 7, sum)
		_, err := s.Replay(t.Context(), store.Replay{Endpoint: store.Endpoint{Instance: "acme", ID: "nothing"}, States: []store.DeliveryState{store.Dead}}, "", at(6))
		require.NoError(t, err, "there is nothing of it")
		exists, err := s.EndpointExists(t.Context(), endpoint(c))
		require.NoError(t, err)
		require.True(t, exists)
		exists, err = s.EndpointExists(t.Context(), store.Endpoint{Instance: "other", ID: c.ID})
		require.NoError(t, err)
		require.False(t, exists)
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", other.ID, at(8)))
		_, err = s.Replay(t.Context(), store.Replay{Endpoint: endpoint(other), States: []store.DeliveryState{store.Dead}}, "", at(9))
		require.ErrorIs(t, err, store.ErrNotRetryable)
	}},
}

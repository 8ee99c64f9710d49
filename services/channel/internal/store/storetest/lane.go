package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

var laneCases = []Case{
	{"deliveries are numbered in their lane without a gap", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := lane(t, s, c, "i", 2, at(0))
		lane(t, s, c, "i", 1, at(1))
		lane(t, s, c, "j", 1, at(1))
		all := deliveries(t, s, key)
		require.Len(t, all, 3)
		for i, d := range all {
			require.EqualValues(t, i+1, d.Sequence)
			require.Equal(t, store.Pending, d.State)
			require.Equal(t, key, d.LaneKey)
			require.Equal(t, "c", d.ContactID)
			require.Zero(t, d.AttemptCount)
			require.Nil(t, d.Attempts)
			require.Zero(t, d.SettleTime)
		}
		require.Equal(t, "body 1", string(all[1].Body))
		require.Equal(t, at(1), all[2].CreateTime)
		require.EqualValues(t, 4, backlog(t, s).Deliveries)
		require.Equal(t, at(0), backlog(t, s).OldestDelivery)
	}},
	{"a lane has one holder; settling goes on to the next, in order", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := lane(t, s, c, "i", 2, at(0))
		held := claimLanes(t, s, c, at(0), 5)
		require.Len(t, held, 1)
		require.Empty(t, claimLanes(t, s, c, at(0), 5))
		all := deliveries(t, s, key)

		second := all[1]
		second.State = store.Delivered
		_, err := s.Settle(t.Context(), &second, held[0].Epoch, at(1))
		require.ErrorIs(t, err, store.ErrLeaseLost, "not before the first")
		require.ErrorIs(t, s.Retry(t.Context(), &second, held[0].Epoch, at(1)), store.ErrLeaseLost)

		first := all[0]
		first.State, first.AttemptCount, first.Attempts = store.Delivered, 1, []byte(`[{"answer":"ção"}]`)
		settled, err := s.Settle(t.Context(), &first, held[0].Epoch, at(1))
		require.NoError(t, err)
		require.True(t, settled.More)
		_, err = s.Settle(t.Context(), &first, held[0].Epoch, at(1))
		require.ErrorIs(t, err, store.ErrLeaseLost, "not twice")
		second.State = store.Dead
		settled, err = s.Settle(t.Context(), &second, held[0].Epoch, at(2))
		require.NoError(t, err)
		require.False(t, settled.More)
		require.Equal(t, []store.DeliveryState{store.Delivered, store.Dead}, states(deliveries(t, s, key)))
		got := deliveries(t, s, key)[0]
		require.Equal(t, 1, got.AttemptCount)
		require.JSONEq(t, `[{"answer":"ção"}]`, string(got.Attempts))
		require.Equal(t, at(1), got.SettleTime)
		require.Empty(t, claimLanes(t, s, c, at(99999), 5))
		lane(t, s, c, "i", 1, at(3))
		again := claimLanes(t, s, c, at(3), 5)
		require.Len(t, again, 1)
		require.EqualValues(t, 2, again[0].SettledSeq)
	}},
	{"a claim brings the first deliveries, in order", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		long := lane(t, s, c, "i", store.ReadAhead+1, at(0))
		lane(t, s, c, "j", 1, at(1))
		held := claimLanes(t, s, c, at(2), 5)
		require.Len(t, held, 2)
		for _, l := range held {
			read, err := s.Deliveries(t.Context(), l.LaneKey, 0, store.ReadAhead)
			require.NoError(t, err)
			require.Equal(t, read, l.Pending)
			if l.LaneKey == long {
				require.Len(t, l.Pending, store.ReadAhead, "one past the limit waits")
				require.Equal(t, "body 7", string(l.Pending[7].Body))
			}
		}
	}},
	{"a retry waits, and the lane with it", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := lane(t, s, c, "i", 2, at(0))
		held := claimLanes(t, s, c, at(0), 1)[0]
		d := deliveries(t, s, key)[0]
		d.AttemptCount, d.Attempts = 1, []byte(`[{}]`)
		require.NoError(t, s.Retry(t.Context(), &d, held.Epoch, at(5000)))
		require.ErrorIs(t, s.Retry(t.Context(), &d, held.Epoch, at(5000)), store.ErrLeaseLost)
		lane(t, s, c, "i", 1, at(10))
		require.Empty(t, claimLanes(t, s, c, at(4999), 1), "a new delivery does not shorten the wait")
		held = claimLanes(t, s, c, at(5000), 1)[0]
		require.Zero(t, held.SettledSeq)
		got := deliveries(t, s, key)[0]
		require.Equal(t, store.Pending, got.State)
		require.Equal(t, 1, got.AttemptCount)
	}},
	{"an old epoch is refused", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := lane(t, s, c, "i", 1, at(0))
		old := claimLanes(t, s, c, at(0), 1)[0]
		held := claimLanes(t, s, c, at(0).Add(lease), 1)[0]
		require.Equal(t, old.Epoch+1, held.Epoch)
		d := deliveries(t, s, key)[0]
		d.State = store.Delivered
		_, err := s.Settle(t.Context(), &d, old.Epoch, at(1))
		require.ErrorIs(t, err, store.ErrLeaseLost)
		require.ErrorIs(t, s.Retry(t.Context(), &d, old.Epoch, at(1)), store.ErrLeaseLost)
		require.ErrorIs(t, s.ReleaseLane(t.Context(), key, old.Epoch, at(1)), store.ErrLeaseLost)
		require.ErrorIs(t, s.RenewLane(t.Context(), key, old.Epoch, at(99999)), store.ErrLeaseLost)
		require.Equal(t, store.Pending, deliveries(t, s, key)[0].State)
		require.NoError(t, s.RenewLane(t.Context(), key, held.Epoch, at(0).Add(3*lease)))
		require.Empty(t, claimLanes(t, s, c, at(0).Add(3*lease-time.Microsecond), 1))
		require.NoError(t, s.ReleaseLane(t.Context(), key, held.Epoch, at(9)))
		require.Len(t, claimLanes(t, s, c, at(9), 1), 1)
	}},
	{"a turn can take the lane of its answer, if it is idle", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		finish := func(person string) store.Finished {
			m := message(c, person, "oi", at(0))
			accepted, err := s.Accept(t.Context(), m, nil, at(0).Add(lease))
			require.NoError(t, err)
			wanted := turn(store.Thread{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, DoneSeq: accepted.Held.Seq - 1}, "i", 2)
			wanted.HoldLane = at(0).Add(lease)
			finished, err := s.FinishTurn(t.Context(), wanted, at(0))
			require.NoError(t, err)
			return finished
		}
		first := finish("ana")
		require.True(t, first.LaneHeld)
		require.Equal(t, 2, first.Queued)
		require.EqualValues(t, 1, first.FirstSequence)
		require.Empty(t, claimLanes(t, s, c, at(1), 5))
		second := finish("ana")
		require.False(t, second.LaneHeld, "somebody holds it")
		require.EqualValues(t, 3, second.FirstSequence)
		key := first.Lane.LaneKey
		all := deliveries(t, s, key)
		for i, d := range all {
			d.State = store.Delivered
			settled, err := s.Settle(t.Context(), &d, first.Lane.Epoch, at(2))
			require.NoError(t, err)
			require.Equal(t, i < 3, settled.More)
			if i == 1 && s.Exclusive() {
				require.Equal(t, all[2:], settled.Pending, "what came since need not be read")
			} else {
				require.Empty(t, settled.Pending)
			}
		}
		third := finish("ana")
		require.True(t, third.LaneHeld)
		require.EqualValues(t, 4, third.Lane.SettledSeq)
		require.Equal(t, first.Lane.Epoch+1, third.Lane.Epoch)
	}},
	{"only active endpoints with something due are ready", func(t *testing.T, s *store.Store) {
		var all []*store.Channel
		for n := 1; n <= 5; n++ {
			c := create(t, s, fmt.Sprint("instance-", n%2), n)
			all = append(all, c)
			for i := range 3 {
				lane(t, s, c, fmt.Sprint("i", i), 1, at(n))
			}
		}
		_, err := s.SetState(t.Context(), all[0].Instance, all[0].ID, store.Active, store.Paused, "", at(9))
		require.NoError(t, err)
		_, err = s.SetState(t.Context(), all[1].Instance, all[1].ID, store.Active, store.Disabled, "", at(9))
		require.NoError(t, err)
		require.NoError(t, s.DeleteChannel(t.Context(), all[2].Instance, all[2].ID, at(9)))
		require.Len(t, claimLanes(t, s, all[3], at(9), 2), 2)

		ready, err := s.ReadyEndpoints(t.Context(), at(9))
		require.NoError(t, err)
		require.ElementsMatch(t, []store.Endpoint{endpoint(all[3]), endpoint(all[4])}, ready)
		require.Len(t, claimLanes(t, s, all[3], at(9), 2), 1)
		ready, err = s.ReadyEndpoints(t.Context(), at(9))
		require.NoError(t, err)
		require.Equal(t, []store.Endpoint{endpoint(all[4])}, ready)
		ready, err = s.ReadyEndpoints(t.Context(), at(0))
		require.NoError(t, err)
		require.Empty(t, ready)
	}},
	{"a claim keeps each endpoint's limit and to its instance", func(t *testing.T, s *store.Store) {
		a, b := create(t, s, "acme", 1), create(t, s, "other", 2)
		for i := range 4 {
			lane(t, s, a, fmt.Sprint("i", i), 1, at(i))
			lane(t, s, b, fmt.Sprint("i", i), 1, at(i))
		}
		lanes, err := s.ClaimLanes(t.Context(), []store.Claim{{Endpoint: endpoint(a), Limit: 3}, {Endpoint: endpoint(b), Limit: 1}}, at(9), at(9).Add(lease))
		require.NoError(t, err)
		require.Len(t, lanes, 4)
		count := map[string]int{}
		for _, l := range lanes {
			count[l.EndpointID]++
		}
		require.Equal(t, map[string]int{a.ID: 3, b.ID: 1}, count)
		lanes, err = s.ClaimLanes(t.Context(), []store.Claim{{Endpoint: store.Endpoint{Instance: "acme", ID: b.ID}, Limit: 5}}, at(9), at(9).Add(lease))
		require.NoError(t, err)
		require.Empty(t, lanes)
	}},
}

package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// park makes a lane of n deliveries, the first of which is dead, parked.
func park(t *testing.T, s *store.Store, c *store.Channel, interaction string, n int, now time.Time) store.LaneKey {
	t.Helper()
	key := lane(t, s, c, interaction, n, now)
	for _, held := range claimLanes(t, s, c, now, 1) {
		require.Equal(t, key, held.LaneKey)
		head := deliveries(t, s, key)[held.SettledSeq]
		head.State, head.AttemptCount, head.Attempts = store.Dead, 2, []byte(`[{},{}]`)
		require.NoError(t, s.ParkLane(t.Context(), &head, held.Epoch, now))
		require.ErrorIs(t, s.ParkLane(t.Context(), &head, held.Epoch, now), store.ErrLeaseLost)
	}
	return key
}

var parkCases = []Case{
	{"a parked lane is not due, whatever comes behind its dead head", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := park(t, s, c, "i", 2, at(0))
		require.Equal(t, []store.DeliveryState{store.Dead, store.Pending}, states(deliveries(t, s, key)))
		require.Equal(t, at(0), deliveries(t, s, key)[0].SettleTime)
		lane(t, s, c, "i", 1, at(1))
		later := at(0).Add(1000 * 24 * time.Hour)
		ready, err := s.ReadyEndpoints(t.Context(), later)
		require.NoError(t, err)
		require.Empty(t, ready)
		require.Empty(t, claimLanes(t, s, c, later, 5))
		done, err := s.Due(t.Context(), endpoint(c), at(2))
		require.NoError(t, err)
		require.True(t, done)
		require.Empty(t, claimLanes(t, s, c, later, 5), "making lanes due leaves it parked")
		require.NoError(t, s.VoidLeases(t.Context(), at(2)))
		require.Empty(t, claimLanes(t, s, c, later, 5), "so does a restart")
	}},
	{"what waits in a parked lane is pending, its dead head is not", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		park(t, s, c, "i", 1, at(0))
		b := backlog(t, s)
		require.Zero(t, b.Deliveries)
		require.Zero(t, b.OldestDelivery)
		require.EqualValues(t, 1, b.Parked)
		lane(t, s, c, "i", 2, at(5))
		lane(t, s, c, "j", 1, at(7))
		b = backlog(t, s)
		require.EqualValues(t, 3, b.Deliveries)
		require.Equal(t, at(5), b.OldestDelivery)
		require.EqualValues(t, 1, b.Parked)
	}},
	{"an answer takes no lease on a parked lane", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		park(t, s, c, "i", 1, at(0))
		m := message(c, "person of i", "oi", at(1))
		accepted, err := s.Accept(t.Context(), m, nil, at(1).Add(lease))
		require.NoError(t, err)
		wanted := turn(store.Thread{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, DoneSeq: accepted.Held.Seq - 1}, "i", 1)
		wanted.HoldLane = at(1).Add(lease)
		finished, err := s.FinishTurn(t.Context(), wanted, at(1))
		require.NoError(t, err)
		require.False(t, finished.LaneHeld)
		require.EqualValues(t, 2, finished.FirstSequence)
	}},
	{"the dead head can be put back", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := park(t, s, c, "i", 2, at(0))
		all := deliveries(t, s, key)
		again, err := s.SendAgain(t.Context(), "acme", all[1].ID, at(8))
		require.NoError(t, err)
		require.False(t, again, "what waits behind it is pending already")
		require.Empty(t, claimLanes(t, s, c, at(9), 1))
		again, err = s.SendAgain(t.Context(), "acme", all[0].ID, at(9))
		require.NoError(t, err)
		require.True(t, again)
		again, err = s.SendAgain(t.Context(), "acme", all[0].ID, at(9))
		require.NoError(t, err)
		require.False(t, again, "once")

		head := deliveries(t, s, key)[0]
		require.Equal(t, store.Pending, head.State)
		require.Zero(t, head.AttemptCount, "the schedule begins anew")
		require.Zero(t, head.SettleTime)
		require.JSONEq(t, `[{},{}]`, string(head.Attempts), "what was tried stays known")
		require.EqualValues(t, 2, backlog(t, s).Deliveries)
		require.Zero(t, backlog(t, s).Parked)
		require.Empty(t, claimLanes(t, s, c, at(8), 1))
		held := claimLanes(t, s, c, at(9), 1)
		require.Len(t, held, 1)
		require.Zero(t, held[0].SettledSeq)
		head.State = store.Delivered
		settled, err := s.Settle(t.Context(), &head, held[0].Epoch, at(10))
		require.NoError(t, err)
		require.True(t, settled.More)
	}},
	{"parked lanes of an endpoint go on behind their dead heads, by batches", func(t *testing.T, s *store.Store) {
		c, other := create(t, s, "acme", 1), create(t, s, "acme", 2)
		const batch = 500
		for i := range batch {
			park(t, s, c, fmt.Sprint("i", i), 1+i%2, at(0))
		}
		parkedToo := park(t, s, other, "i", 2, at(0))
		done, err := s.Unpark(t.Context(), store.Endpoint{Instance: "other", ID: c.ID}, at(5))
		require.NoError(t, err)
		require.True(t, done)
		require.EqualValues(t, batch+1, backlog(t, s).Parked, "another instance's call changes nothing")
		done, err = s.Unpark(t.Context(), endpoint(c), at(5))
		require.NoError(t, err)
		require.False(t, done, "a full batch may not be all")
		done, err = s.Unpark(t.Context(), endpoint(c), at(5))
		require.NoError(t, err)
		require.True(t, done)

		b := backlog(t, s)
		require.EqualValues(t, 1, b.Parked)
		require.EqualValues(t, batch/2+1, b.Deliveries)
		lanes := claimLanes(t, s, c, at(5), batch)
		require.Len(t, lanes, batch/2, "those with something behind the dead head")
		for _, l := range lanes {
			require.EqualValues(t, 1, l.SettledSeq)
		}
		require.Equal(t, []store.DeliveryState{store.Dead, store.Pending}, states(deliveries(t, s, parkedToo)))
		// One with nothing behind is idle: what comes next can be taken with it.
		lane(t, s, c, "i0", 1, at(6))
		require.Len(t, claimLanes(t, s, c, at(6), 5), 1)
	}},
	{"a deleted channel's parked lanes are cancelled but for the dead", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := park(t, s, c, "i", 3, at(0))
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(1)))
		cancelled, _, err := s.CancelLanes(t.Context(), endpoint(c), at(2))
		require.NoError(t, err)
		require.EqualValues(t, 2, cancelled)
		require.Equal(t, []store.DeliveryState{store.Dead, store.Cancelled, store.Cancelled}, states(deliveries(t, s, key)))
		b := backlog(t, s)
		require.Zero(t, b.Deliveries)
		require.Zero(t, b.Parked)
	}},
}

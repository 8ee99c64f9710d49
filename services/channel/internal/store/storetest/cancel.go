package storetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

var cancelCases = []Case{
	{"what a deleted channel left is cancelled in batches, and nothing else", func(t *testing.T, s *store.Store) {
		c, other := create(t, s, "acme", 1), create(t, s, "acme", 2)
		long := lane(t, s, c, "long", 1200, at(-1))
		for i := range 40 {
			accept(t, s, c, fmt.Sprint("p", i), "oi", at(i))
			lane(t, s, c, fmt.Sprint("i", i), 1, at(i))
		}
		accept(t, s, other, "ana", "oi", at(0))
		kept := lane(t, s, other, "i0", 2, at(0))
		// One delivery was made before.
		held := claimLanes(t, s, c, at(0), 1)[0]
		require.Equal(t, "long", held.InteractionID)
		done := deliveries(t, s, long)[0]
		done.State = store.Delivered
		_, err := s.Settle(t.Context(), &done, held.Epoch, at(1))
		require.NoError(t, err)

		none, err := s.Unreaped(t.Context(), 10)
		require.NoError(t, err)
		require.Empty(t, none)
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(50)))
		unreaped, err := s.Unreaped(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, []store.Deleted{{Endpoint: endpoint(c), DeleteTime: at(50)}}, unreaped)

		var messages, cancelled int64
		batches := 0
		for done := false; !done; batches++ {
			n, none, err := s.CancelThreads(t.Context(), endpoint(c))
			require.NoError(t, err)
			messages += n
			done = none
		}
		require.EqualValues(t, 40, messages)
		require.Greater(t, batches, 2)
		batches = 0
		for done := false; !done; batches++ {
			n, none, err := s.CancelLanes(t.Context(), endpoint(c), at(60))
			require.NoError(t, err)
			require.LessOrEqual(t, n, int64(1000))
			cancelled += n
			done = none
		}
		require.EqualValues(t, 1199+40, cancelled)
		require.Greater(t, batches, 3)

		after := deliveries(t, s, long)
		require.Equal(t, store.Delivered, after[0].State)
		require.Equal(t, store.Cancelled, after[1].State)
		require.Equal(t, at(60), after[1].SettleTime)
		second := after[1]
		second.State = store.Delivered
		_, err = s.Settle(t.Context(), &second, held.Epoch, at(61))
		require.ErrorIs(t, err, store.ErrLeaseLost, "an attempt in flight comes too late")
		require.Equal(t, []store.DeliveryState{store.Pending, store.Pending}, states(deliveries(t, s, kept)))
		require.Equal(t, store.Backlog{Messages: 1, Deliveries: 2, OldestMessage: at(0), OldestDelivery: at(0)}, backlog(t, s))

		require.NoError(t, s.MarkReaped(t.Context(), endpoint(c), at(70)))
		unreaped, err = s.Unreaped(t.Context(), 10)
		require.NoError(t, err)
		require.Empty(t, unreaped)
	}},
	{"a turn that ends after the deletion queues nothing", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "1", at(0))
		accept(t, s, c, "bia", "1", at(0))
		held := claimThreads(t, s, at(0), 2)
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(1)))
		finished := answer(t, s, held[0], "i", 3, at(2))
		require.Zero(t, finished.Queued)
		require.False(t, finished.LaneHeld)
		_, _, err := s.CancelThreads(t.Context(), endpoint(c))
		require.NoError(t, err)
		_, err = s.FinishTurn(t.Context(), turn(held[1], "j", 1), at(2))
		require.ErrorIs(t, err, store.ErrLeaseLost)
		require.Equal(t, store.Backlog{}, backlog(t, s))
	}},
}

package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store/migrations"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// TestAnotherConversationMayGetTheNumberOfADeletedDelivery starts anew after all
// deliveries of two conversations were deleted: the numbers that their lanes
// know go to whichever comes first.
func TestAnotherConversationMayGetTheNumberOfADeletedDelivery(t *testing.T) {
	options := testkit.Options(t, sqldb.SQLite, migrations.FS, "channel")
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	made := 0
	deliver := func(s *Store, interaction string, n int) LaneKey {
		ctx, hold := t.Context(), now.Add(time.Hour)
		m := &Message{ThreadKey: ThreadKey{"acme", "c", "person of " + interaction}, ID: "m", Text: "oi", CreateTime: now}
		accepted, err := s.Accept(ctx, m, nil, hold)
		require.NoError(t, err)
		turn := &Turn{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, Seq: accepted.Held.Seq, InteractionID: interaction, HoldLane: hold}
		for range n {
			made++
			turn.Answer = append(turn.Answer, Outgoing{ID: fmt.Sprintf("%024d", made), Body: []byte("{}")})
		}
		finished, err := s.FinishTurn(ctx, turn, now)
		require.NoError(t, err)
		for _, d := range finished.Lane.Pending {
			d.State = Delivered
			_, err := s.Settle(ctx, &d, finished.Lane.Epoch, now)
			require.NoError(t, err)
		}
		return LaneKey{"acme", "c", interaction}
	}
	start := func(run func(s *Store)) {
		db, err := sqldb.Open(context.WithoutCancel(t.Context()), options)
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		run(New(db))
	}
	start(func(s *Store) {
		_, err := s.CreateChannel(t.Context(), &Channel{Instance: "acme", ID: "c", Acknowledgement: StatusOK, State: Active, Secret: []byte("s")}, nil)
		require.NoError(t, err)
		deliver(s, "i", 3)
		deliver(s, "j", 2)
		_, deleted, err := s.Retire(t.Context(), "acme", now.Add(time.Hour), outgoingPart)
		require.NoError(t, err)
		require.EqualValues(t, 5, deleted[kindSent])
	})
	for _, interaction := range []string{"j", "i", "j"} {
		start(func(s *Store) { deliver(s, interaction, 1) })
	}
	start(func(s *Store) {
		i, j := deliver(s, "i", 4), deliver(s, "j", 1)
		for key, want := range map[LaneKey][]int64{i: {4, 5, 6, 7, 8}, j: {3, 4, 5}} {
			all, err := s.Deliveries(t.Context(), key, 0, 100)
			require.NoError(t, err)
			var got []int64
			for _, d := range all {
				got = append(got, d.Sequence)
				require.Equal(t, key, d.LaneKey)
			}
			require.Equal(t, want, got)
		}
		n, _, err := s.EraseLane(t.Context(), i)
		require.NoError(t, err)
		require.EqualValues(t, 5, n)
		n, err = s.CountLane(t.Context(), j)
		require.NoError(t, err)
		require.EqualValues(t, 3, n)
	})
}

package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// LeasesOfTheDead is what stores that share a database promise of the leases of
// a process that has died. Where there is one process only nothing is taken back.
func LeasesOfTheDead(t *testing.T, db *sqldb.DB) {
	const deadToken, liveToken = 7, 8
	died, lives := store.NewShared(db, func() int64 { return deadToken }), store.NewShared(db, func() int64 { return liveToken })
	untold := store.New(db)
	void := func(token int64, now, until time.Time) {
		require.NoError(t, db.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
			return lives.VoidLeasesOf(ctx, tx, token, now, until)
		}))
	}
	c, d := create(t, died, "acme", 1), create(t, died, "acme", 2)

	// Of each way to a lease one by the process that dies, in both endpoints.
	accepted := message(c, "accepted", "oi", at(0))
	first, err := died.Accept(t.Context(), accepted, nil, at(0).Add(lease))
	require.NoError(t, err)
	require.True(t, first.Held.OK)
	keyed := message(c, "accepted with key", "oi", at(0))
	second, err := died.Accept(t.Context(), keyed, &store.Key{Scope: "s", Key: "k", Response: []byte("r")}, at(0).Add(lease))
	require.NoError(t, err)
	require.True(t, second.Held.OK)
	accept(t, lives, c, "claimed", "oi", at(0))
	claimed := claimThreads(t, died, at(0), 5)
	require.Len(t, claimed, 1)
	// What it is behind in keeps its holder.
	_, err = lives.Accept(t.Context(), message(c, "accepted", "still there?", at(1)), nil, at(1).Add(lease))
	require.NoError(t, err)
	theirs := message(c, "of one who lives", "oi", at(0))
	live, err := lives.Accept(t.Context(), theirs, nil, at(0).Add(lease))
	require.NoError(t, err)
	require.True(t, live.Held.OK)
	nobodys, err := untold.Accept(t.Context(), message(c, "of one unknown", "oi", at(0)), nil, at(0).Add(lease))
	require.NoError(t, err)
	require.True(t, nobodys.Held.OK)

	lane(t, died, c, "claimed", 1, at(0))
	lanes := claimLanes(t, died, c, at(0), 1)
	lane(t, lives, c, "of one who lives", 1, at(0))
	liveLanes := claimLanes(t, lives, c, at(0), 1)
	source := message(d, "held", "oi", at(0))
	turned, err := died.Accept(t.Context(), source, nil, at(0).Add(lease))
	require.NoError(t, err)
	request := turn(store.Thread{ThreadKey: source.ThreadKey, Epoch: turned.Held.Epoch, DoneSeq: turned.Held.Seq - 1}, "held", 1)
	request.HoldLane = at(0).Add(lease)
	finished, err := died.FinishTurn(t.Context(), request, at(0))
	require.NoError(t, err)
	require.True(t, finished.LaneHeld)
	lanes = append(lanes, finished.Lane)
	again := dead(t, lives, create(t, lives, "acme", 3), "again", 1)[0]
	sendAgain(t, lives, again, at(0))
	redelivered, err := died.ClaimRedeliveries(t.Context(), []store.Claim{
		{Endpoint: store.Endpoint{Instance: again.Instance, ID: again.EndpointID}, Limit: 1},
	}, at(0), at(0).Add(lease))
	require.NoError(t, err)
	require.Len(t, redelivered, 1)

	// A retry that waits is nobody's.
	waiting := lane(t, died, c, "waiting", 1, at(0))
	held := claimLanes(t, died, c, at(0), 1)
	require.Len(t, held, 1)
	retried := deliveries(t, died, waiting)[0]
	require.NoError(t, died.Retry(t.Context(), &retried, held[0].Epoch, at(5000)))

	void(deadToken, at(100), at(100))
	void(0, at(100), at(0).Add(time.Hour))
	require.Empty(t, claimThreads(t, lives, at(100), 9), "no lease ends that soon, and nobody is nobody")
	void(deadToken, at(100), at(0).Add(time.Minute))
	if lives.Exclusive() {
		require.Empty(t, claimThreads(t, lives, at(100), 9))
		require.Empty(t, claimLanes(t, lives, c, at(100), 9))
		require.Empty(t, claimLanes(t, lives, d, at(100), 9))
		return
	}
	require.ErrorIs(t, died.RenewThread(t.Context(), accepted.ThreadKey, first.Held.Epoch, at(99999)), store.ErrLeaseLost)
	_, err = died.FinishTurn(t.Context(), turn(claimed[0], "late", 1), at(100))
	require.ErrorIs(t, err, store.ErrLeaseLost)
	var names []string
	for _, thread := range claimThreads(t, lives, at(100), 9) {
		names = append(names, thread.ClientIdentifier)
		require.EqualValues(t, 1, thread.Failures)
	}
	require.ElementsMatch(t, []string{"accepted", "accepted with key", "claimed"}, names)
	require.Len(t, claimLanes(t, lives, c, at(100), 9), 1)
	require.Len(t, claimLanes(t, lives, d, at(100), 9), 1)
	late := lanes[1].Pending[0]
	late.State = store.Delivered
	_, err = died.Settle(t.Context(), &late, lanes[1].Epoch, at(100))
	require.ErrorIs(t, err, store.ErrLeaseLost)
	require.ErrorIs(t, died.ReleaseRedelivery(t.Context(), redelivered[0].LaneKey, redelivered[0].Epoch, at(100)), store.ErrLeaseLost)
	require.NoError(t, lives.RenewThread(t.Context(), theirs.ThreadKey, live.Held.Epoch, at(20000)))
	require.NoError(t, lives.RenewLane(t.Context(), liveLanes[0].LaneKey, liveLanes[0].Epoch, at(20000)))

	// The one who took them over dies too: who may have killed both waits.
	void(liveToken, at(200), at(0).Add(time.Minute))
	names = nil
	for _, thread := range claimThreads(t, untold, at(200), 9) {
		names = append(names, thread.ClientIdentifier)
	}
	require.Equal(t, []string{"of one who lives"}, names)
	require.Empty(t, claimThreads(t, untold, at(1200).Add(-time.Microsecond), 9))
	require.Len(t, claimThreads(t, untold, at(1200), 9), 3)
}

package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/erasure"
)

var eraseCases = []Case{
	{"an erased thread is gone, and who holds it has lost it", func(t *testing.T, s *store.Store) {
		c, other := create(t, s, "acme", 1), create(t, s, "zeta", 2)
		key := store.ThreadKey{Instance: c.Instance, ChannelID: c.ID, ClientIdentifier: "ana"}
		for n := range 3 {
			accept(t, s, c, "ana", "mine", at(n))
			accept(t, s, c, "bia", "hers", at(n))
			accept(t, s, other, "ana", "elsewhere", at(n))
		}
		held := claimThreads(t, s, at(10), 10)
		var mine store.Thread
		for _, thread := range held {
			if thread.ThreadKey == key {
				mine = thread
			}
		}
		answer(t, s, mine, "i", 1, at(11))
		mine.DoneSeq = 1

		threads, err := s.PersonThreads(t.Context(), "acme", "ana", []string{c.ID, other.ID, "nothing"})
		require.NoError(t, err)
		require.Equal(t, []store.ThreadKey{key}, threads)
		heard, err := s.Heard(t.Context(), key, 0, 10)
		require.NoError(t, err)
		require.Len(t, heard, 3)
		require.Equal(t, []store.Outcome{store.Done, store.Waiting, store.Waiting}, []store.Outcome{heard[0].Outcome, heard[1].Outcome, heard[2].Outcome})
		n, err := s.CountThread(t.Context(), key)
		require.NoError(t, err)
		require.EqualValues(t, 3, n)

		erased, err := s.EraseThread(t.Context(), key)
		require.NoError(t, err)
		require.Len(t, erased.MessageIDs, 3)
		require.EqualValues(t, 2, erased.Pending)
		require.Equal(t, at(2), erased.Latest)
		n, err = s.CountThread(t.Context(), key)
		require.NoError(t, err)
		require.Zero(t, n)
		require.EqualValues(t, 6, backlog(t, s).Messages, "those of others")

		_, err = s.FinishTurn(t.Context(), turn(mine, "i", 1), at(12))
		require.ErrorIs(t, err, store.ErrLeaseLost)
		require.ErrorIs(t, s.RenewThread(t.Context(), key, mine.Epoch, at(99999)), store.ErrLeaseLost)
		erased, err = s.EraseThread(t.Context(), key)
		require.NoError(t, err)
		require.Empty(t, erased.MessageIDs, "again")
	}},
	{"a thread that begins anew is not the erased one", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		m := message(c, "ana", "before", at(0))
		accepted, err := s.Accept(t.Context(), m, nil, at(0).Add(lease))
		require.NoError(t, err)
		before := store.Thread{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch}
		_, err = s.EraseThread(t.Context(), m.ThreadKey)
		require.NoError(t, err)
		m = message(c, "ana", "after", at(1))
		accepted, err = s.Accept(t.Context(), m, nil, at(1).Add(lease))
		require.NoError(t, err)
		require.EqualValues(t, 1, accepted.Held.Seq)
		require.True(t, accepted.Held.OK)
		_, err = s.FinishTurn(t.Context(), turn(before, "old", 1), at(2))
		require.ErrorIs(t, err, store.ErrLeaseLost, "a turn of what was erased")
		answer(t, s, store.Thread{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch}, "new", 1, at(3))
		require.Empty(t, deliveries(t, s, store.LaneKey{Instance: "acme", EndpointID: c.ID, InteractionID: "old"}))
	}},
	{"a thread with more messages than a batch is erased", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		const many = 510
		var held store.Thread
		for n := range many {
			accept(t, s, c, "ana", "x", at(n))
		}
		held = claimThreads(t, s, at(many), 1)[0]
		for n := range many - 2 {
			held.DoneSeq = int64(n)
			answer(t, s, held, "i", 0, at(many))
		}
		erased, err := s.EraseThread(t.Context(), held.ThreadKey)
		require.NoError(t, err)
		require.Len(t, erased.MessageIDs, many)
		require.EqualValues(t, 2, erased.Pending)
	}},
	{"an erased lane is gone, and who holds it has lost it", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		mine, hers := lane(t, s, c, "mine", 4, at(0)), lane(t, s, c, "hers", 2, at(0))
		var held store.Lane
		for _, l := range claimLanes(t, s, c, at(1), 10) {
			if l.LaneKey == mine {
				held = l
			}
		}
		all := deliveries(t, s, mine)
		all[0].State = store.Delivered
		_, err := s.Settle(t.Context(), &all[0], held.Epoch, at(2))
		require.NoError(t, err)
		sendAgain(t, s, all[0], at(3))

		lanes, err := s.PersonLanes(t.Context(), "acme", []string{c.ID, "nothing"}, []string{"mine", "nowhere"})
		require.NoError(t, err)
		require.Equal(t, []store.LaneKey{mine}, lanes)
		n, err := s.CountLane(t.Context(), mine)
		require.NoError(t, err)
		require.EqualValues(t, 4, n)
		before := backlog(t, s)

		n, pending, err := s.EraseLane(t.Context(), mine)
		require.NoError(t, err)
		require.EqualValues(t, 4, n)
		require.EqualValues(t, 4, pending, "three, and the one that was to be sent again")
		require.Empty(t, deliveries(t, s, mine))
		require.Len(t, deliveries(t, s, hers), 2)
		require.Equal(t, before.Deliveries-4, backlog(t, s).Deliveries)
		all[1].State = store.Delivered
		_, err = s.Settle(t.Context(), &all[1], held.Epoch, at(4))
		require.ErrorIs(t, err, store.ErrLeaseLost)
		require.ErrorIs(t, s.RenewLane(t.Context(), mine, held.Epoch, at(99999)), store.ErrLeaseLost)
		require.Empty(t, claimRedeliveries(t, s, c, at(99999), 10))
	}},
	{"a message of somebody who was erased while it came is dropped", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "1", at(0))
		accept(t, s, c, "ana", "2", at(1))
		thread := claimThreads(t, s, at(2), 1)[0]
		more, err := s.DropErased(t.Context(), thread.ThreadKey, thread.Epoch, 1)
		require.NoError(t, err)
		require.True(t, more)
		_, err = s.DropErased(t.Context(), thread.ThreadKey, thread.Epoch, 1)
		require.ErrorIs(t, err, store.ErrLeaseLost)
		more, err = s.DropErased(t.Context(), thread.ThreadKey, thread.Epoch, 2)
		require.NoError(t, err)
		require.False(t, more)
		threads, err := s.PersonThreads(t.Context(), "acme", "ana", []string{c.ID})
		require.NoError(t, err)
		require.Empty(t, threads)
	}},
	{"an older copy is searched for those who were erased", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		for n, who := range []string{"ana", "bia", "a/b"} {
			accept(t, s, c, who, "x", at(n))
		}
		page, next, err := s.Identifiers(t.Context(), "acme", "")
		require.NoError(t, err)
		require.Empty(t, next)
		require.ElementsMatch(t, []string{"ana", "bia", "a/b"}, page)
		page, _, err = s.Identifiers(t.Context(), "acme", c.ID+"/a/b")
		require.NoError(t, err)
		require.Equal(t, []string{"ana", "bia"}, page)
		mine := lane(t, s, c, "mine", 2, at(10))
		contact := deliveries(t, s, mine)[0].ContactID
		lanes, err := s.LanesOf(t.Context(), "acme", func(id string) bool { return id == contact })
		require.NoError(t, err)
		require.Equal(t, []store.OwnedLane{{LaneKey: mine, ContactID: contact}}, lanes)
		lanes, err = s.LanesOf(t.Context(), "acme", func(string) bool { return false })
		require.NoError(t, err)
		require.Empty(t, lanes)
	}},
	{"what is done and old is deleted, and nothing that is pending", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		settled := lane(t, s, c, "settled", 2, at(0))
		settleAll(t, s, c, store.Delivered, at(1))
		parked := park(t, s, c, "parked", 2, at(2))
		waiting := lane(t, s, c, "waiting", 2, at(3))
		accept(t, s, c, "pending", "x", at(4))
		late := lane(t, s, c, "late", 1, at(50_000_000))
		threads := func(who string) int {
			found, err := s.PersonThreads(t.Context(), "acme", who, []string{c.ID})
			require.NoError(t, err)
			return len(found)
		}

		require.Zero(t, retire(t, s, at(-1))["messages"])
		deleted := retire(t, s, at(10_000))
		require.EqualValues(t, 3, deleted["messages"])
		require.EqualValues(t, 2, deleted["deliveries"])
		require.Empty(t, deliveries(t, s, settled))
		require.Len(t, deliveries(t, s, waiting), 2)
		require.Len(t, deliveries(t, s, parked), 2)
		require.Len(t, deliveries(t, s, late), 1)
		require.Zero(t, threads("person of settled"))
		require.Equal(t, 1, threads("person of late"))
		require.Equal(t, 1, threads("pending"))
		require.EqualValues(t, 1, backlog(t, s).Messages)
		require.EqualValues(t, 0, retire(t, s, at(10_000))["messages"], "again")
		next, err := s.NextInstance(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, "acme", next)
		next, err = s.NextInstance(t.Context(), "acme")
		require.NoError(t, err)
		require.Empty(t, next)
	}},
	{"erasures are listed newest first, once they are done", func(t *testing.T, s *store.Store) {
		record := func(person string, ms int) erasure.Record {
			return erasure.Record{Instance: "acme", Person: person, Cut: at(ms), Counts: map[string]int64{"messages": int64(ms)}}
		}
		for n, person := range []string{"a", "b", "c", "d"} {
			require.NoError(t, s.BeginErasure(t.Context(), record(person, n)))
			if person != "c" {
				require.NoError(t, s.FinishErasure(t.Context(), record(person, n), at(10)))
			}
		}
		require.NoError(t, s.BeginErasure(t.Context(), erasure.Record{Instance: "zeta", Person: "a", Cut: at(0)}))
		unfinished, err := s.UnfinishedErasures(t.Context())
		require.NoError(t, err)
		require.Len(t, unfinished, 2)
		require.NoError(t, s.RaiseErasure(t.Context(), record("c", 2), at(7)))
		require.NoError(t, s.FinishErasure(t.Context(), record("c", 7), at(10)))
		page, err := s.Erasures(t.Context(), "acme", erasure.Position{Cut: start.Add(time.Hour)}, 2)
		require.NoError(t, err)
		require.Equal(t, []erasure.Record{record("c", 7), record("d", 3)}, page)
		page, err = s.Erasures(t.Context(), "acme", erasure.Position{Cut: at(3), Person: "d"}, 5)
		require.NoError(t, err)
		require.Equal(t, []erasure.Record{record("b", 1), record("a", 0)}, page)
		missing, err := s.MissingErasures(t.Context(), []erasure.Record{record("a", 0), record("a", 1)})
		require.NoError(t, err)
		require.Equal(t, []erasure.Record{record("a", 1)}, missing)
	}},
}

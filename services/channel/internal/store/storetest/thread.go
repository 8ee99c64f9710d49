package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

var threadCases = []Case{
	{"a claim takes what waits longest, once", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		for i, person := range []string{"c", "a", "b"} {
			accept(t, s, c, person, "oi", at(i))
		}
		ready, err := s.ReadyInstances(t.Context(), at(-1))
		require.NoError(t, err)
		require.Empty(t, ready)
		ready, err = s.ReadyInstances(t.Context(), at(0))
		require.NoError(t, err)
		require.Equal(t, []string{"acme"}, ready)
		first := claimThreads(t, s, at(10), 2)
		require.ElementsMatch(t, []string{"c", "a"}, people(first))
		require.Equal(t, []string{"b"}, people(claimThreads(t, s, at(10), 2)))
		require.Empty(t, claimThreads(t, s, at(10), 2))
		ready, err = s.ReadyInstances(t.Context(), at(10))
		require.NoError(t, err)
		require.Empty(t, ready)
	}},
	{"a claim keeps each instance's limit", func(t *testing.T, s *store.Store) {
		one, two, three := create(t, s, "instance-1", 1), create(t, s, "instance-2", 2), create(t, s, "instance-3", 3)
		for i := range 4 {
			accept(t, s, one, fmt.Sprint("p", i), "oi", at(i))
			accept(t, s, two, fmt.Sprint("q", i), "oi", at(i))
		}
		accept(t, s, three, "r", "oi", at(100))
		ready, err := s.ReadyInstances(t.Context(), at(99))
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"instance-1", "instance-2"}, ready)
		claims := []store.ThreadClaim{{Instance: "instance-2", Limit: 1}, {Instance: "instance-1", Limit: 3}, {Instance: "instance-3", Limit: 5}}
		got, err := s.ClaimThreads(t.Context(), claims, at(99), at(99).Add(lease))
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"q0", "p0", "p1", "p2"}, people(got))
		for _, thread := range got {
			require.Len(t, thread.Pending, 1)
		}
	}},
	{"a claim brings the first messages, in order", func(t *testing.T, s *store.Store) {
		c, same := create(t, s, "acme", 1), create(t, s, "acme", 2)
		for i := range store.ReadAhead + 2 {
			accept(t, s, c, "ana", fmt.Sprint("oi ", i), at(i))
		}
		held := claimThreads(t, s, at(20), 1)[0]
		require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8}, numbers(held.Pending), "one past the limit waits")
		require.Equal(t, "oi 7", held.Pending[7].Text)
		answer(t, s, held, "i", 0, at(20))
		require.NoError(t, s.ReleaseThread(t.Context(), held.ThreadKey, held.Epoch, at(20)))
		accept(t, s, c, "bia", "olá", at(20))
		accept(t, s, same, "ana", "outro canal", at(20))

		all := claimThreads(t, s, at(21), 5)
		require.Len(t, all, 3)
		for _, thread := range all {
			read, err := s.Messages(t.Context(), thread.ThreadKey, thread.DoneSeq, store.ReadAhead)
			require.NoError(t, err)
			require.Equal(t, read, thread.Pending)
			if thread.ThreadKey == held.ThreadKey {
				require.Equal(t, []int64{2, 3, 4, 5, 6, 7, 8, 9}, numbers(thread.Pending))
			}
		}
	}},
	{"claimers at once never get the same thread", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		const threads = 60
		for i := range threads {
			accept(t, s, c, fmt.Sprint("p", i), "oi", at(i))
		}
		var (
			mu    sync.Mutex
			taken = map[string]int{}
			group sync.WaitGroup
		)
		for range 6 {
			group.Go(func() {
				for {
					got, err := s.ClaimThreads(t.Context(), []store.ThreadClaim{{Instance: "acme", Limit: 7}}, at(1000), at(1000).Add(lease))
					if err != nil || len(got) == 0 {
						return
					}
					mu.Lock()
					for _, person := range people(got) {
						taken[person]++
					}
					mu.Unlock()
				}
			})
		}
		group.Wait()
		require.Len(t, taken, threads)
		for person, n := range taken {
			require.Equal(t, 1, n, person)
		}
	}},
	{"when a lease runs out another takes the thread, and the first is refused", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "oi", at(0))
		first := claimThreads(t, s, at(0), 1)[0]
		require.Empty(t, claimThreads(t, s, at(0).Add(lease-time.Microsecond), 1))
		second := claimThreads(t, s, at(0).Add(lease), 1)[0]
		require.Equal(t, first.Epoch+1, second.Epoch)

		_, err := s.FinishTurn(t.Context(), turn(first, "i", 2), at(1))
		require.ErrorIs(t, err, store.ErrLeaseLost)
		_, err = s.SetAside(t.Context(), first.ThreadKey, first.Epoch, 1, "X")
		require.ErrorIs(t, err, store.ErrLeaseLost)
		require.ErrorIs(t, s.PostponeThread(t.Context(), first.ThreadKey, first.Epoch, at(1), true), store.ErrLeaseLost)
		require.ErrorIs(t, s.ReleaseThread(t.Context(), first.ThreadKey, first.Epoch, at(1)), store.ErrLeaseLost)
		require.ErrorIs(t, s.RenewThread(t.Context(), first.ThreadKey, first.Epoch, at(99999)), store.ErrLeaseLost)
		require.Zero(t, backlog(t, s).Deliveries, "a refused result leaves nothing behind")

		answer(t, s, second, "i", 1, at(2))
		_, err = s.FinishTurn(t.Context(), turn(second, "i", 1), at(3))
		require.ErrorIs(t, err, store.ErrLeaseLost, "the same result twice counts once")
		require.EqualValues(t, 1, backlog(t, s).Deliveries)
	}},
	{"a renewed lease lasts", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "oi", at(0))
		held := claimThreads(t, s, at(0), 1)[0]
		require.NoError(t, s.RenewThread(t.Context(), held.ThreadKey, held.Epoch, at(0).Add(2*lease)))
		require.Empty(t, claimThreads(t, s, at(0).Add(2*lease-time.Microsecond), 1))
		answer(t, s, held, "i", 0, at(1))
		require.ErrorIs(t, s.RenewThread(t.Context(), held.ThreadKey, held.Epoch, at(99999)), store.ErrLeaseLost, "it has ended")
	}},
	{"a finished message frees the thread; one behind it keeps the lease", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "1", at(0))
		accept(t, s, c, "ana", "2", at(0))
		held := claimThreads(t, s, at(1), 1)[0]
		require.Zero(t, held.DoneSeq)
		require.True(t, answer(t, s, held, "i", 1, at(1)).More)
		require.Empty(t, claimThreads(t, s, at(2), 1))
		held.DoneSeq = 1
		require.False(t, answer(t, s, held, "i", 1, at(1)).More)
		require.Empty(t, claimThreads(t, s, at(99999), 1))
		accept(t, s, c, "ana", "3", at(5))
		again := claimThreads(t, s, at(5), 1)
		require.Len(t, again, 1)
		require.EqualValues(t, 2, again[0].DoneSeq)
	}},
	{"a failure waits and is counted; success forgets it", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "1", at(0))
		held := claimThreads(t, s, at(0), 1)[0]
		require.NoError(t, s.PostponeThread(t.Context(), held.ThreadKey, held.Epoch, at(500), false))
		require.ErrorIs(t, s.PostponeThread(t.Context(), held.ThreadKey, held.Epoch, at(900), true), store.ErrLeaseLost)
		require.Empty(t, claimThreads(t, s, at(499), 1))
		held = claimThreads(t, s, at(500), 1)[0]
		require.EqualValues(t, 1, held.Failures)
		require.Zero(t, held.Strikes)
		require.NoError(t, s.PostponeThread(t.Context(), held.ThreadKey, held.Epoch, at(600), true))
		held = claimThreads(t, s, at(600), 1)[0]
		require.EqualValues(t, 2, held.Failures)
		require.EqualValues(t, 1, held.Strikes)
		answer(t, s, held, "i", 0, at(700))
		accept(t, s, c, "ana", "2", at(700))
		held = claimThreads(t, s, at(700), 1)[0]
		require.Zero(t, held.Failures)
		require.Zero(t, held.Strikes)
	}},
	{"a message set aside lets the thread go on", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "1", at(0))
		accept(t, s, c, "ana", "2", at(0))
		held := claimThreads(t, s, at(0), 1)[0]
		more, err := s.SetAside(t.Context(), held.ThreadKey, held.Epoch, 1, "NotFound")
		require.NoError(t, err)
		require.True(t, more)
		held.DoneSeq = 1
		require.False(t, answer(t, s, held, "i", 1, at(1)).More)
		require.Zero(t, backlog(t, s).Messages)
	}},
	{"a released thread is due at once", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "ana", "1", at(0))
		held := claimThreads(t, s, at(0), 1)[0]
		require.NoError(t, s.ReleaseThread(t.Context(), held.ThreadKey, held.Epoch, at(5)))
		require.Len(t, claimThreads(t, s, at(5), 1), 1)
	}},
	{"voided leases are due at once, waits stay", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		accept(t, s, c, "held", "1", at(0))
		held := claimThreads(t, s, at(0), 1)[0]
		accept(t, s, c, "waiting", "1", at(0))
		waiting := claimThreads(t, s, at(0), 1)[0]
		require.NoError(t, s.PostponeThread(t.Context(), waiting.ThreadKey, waiting.Epoch, at(5000), false))
		key := lane(t, s, c, "i", 1, at(0))
		require.Len(t, claimLanes(t, s, c, at(0), 5), 1)

		require.NoError(t, s.VoidLeases(t.Context(), at(1)))
		require.Equal(t, []string{"held"}, people(claimThreads(t, s, at(1), 5)))
		lanes := claimLanes(t, s, c, at(1), 5)
		require.Len(t, lanes, 1)
		require.Equal(t, key, lanes[0].LaneKey)
		_, err := s.FinishTurn(t.Context(), turn(held, "i", 1), at(1))
		require.ErrorIs(t, err, store.ErrLeaseLost)
	}},
}

func people(threads []store.Thread) []string {
	result := make([]string, len(threads))
	for i, thread := range threads {
		result[i] = thread.ClientIdentifier
	}
	return result
}

func numbers(all []store.Message) []int64 {
	result := make([]int64, len(all))
	for i, m := range all {
		result[i] = m.Seq
	}
	return result
}

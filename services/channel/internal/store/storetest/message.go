package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
)

var messageCases = []Case{
	{"messages are numbered in the order of acceptance", func(t *testing.T, s *store.Store) {
		c, other := create(t, s, "acme", 1), create(t, s, "acme", 2)
		for i := 1; i <= 3; i++ {
			// An earlier clock must not change the order.
			require.EqualValues(t, i, accept(t, s, c, "ana", fmt.Sprint("texto ", i), at(-i)).Seq)
		}
		require.EqualValues(t, 1, accept(t, s, c, "Ana", "outra pessoa", at(0)).Seq)
		require.EqualValues(t, 1, accept(t, s, other, "ana", "outro canal", at(0)).Seq)
		thread := store.ThreadKey{Instance: "acme", ChannelID: c.ID, ClientIdentifier: "ana"}
		got, err := s.Messages(t.Context(), thread, 1, 10)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, "texto 2", got[0].Text)
		require.Equal(t, "texto 3", got[1].Text)
		require.Equal(t, thread, got[0].ThreadKey)
		require.Equal(t, at(-2), got[0].CreateTime)
	}},
	{"a message is stored as it came", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		m := message(c, "joão '; DROP TABLE message; -- %_\\", "  \u00e1\u0061\u0301 🤖\n\t$1 ' \" ", at(1))
		m.Postback = "section0-index1"
		_, err := s.Accept(t.Context(), m, nil, time.Time{})
		require.NoError(t, err)
		got, err := s.Messages(t.Context(), m.ThreadKey, 0, 1)
		require.NoError(t, err)
		m.Seq = 1
		require.Equal(t, []store.Message{*m}, got)
	}},
	{"what people say goes among the messages of the person", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		first := accept(t, s, c, "ana", "oi", at(0))
		reply := message(c, "ana", "olá, sou a Bia", at(1))
		reply.ReplyTo, reply.Trace = "64a1b2c3d4e5f6a7b8c9d0e2", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		accepted, err := s.Accept(t.Context(), reply, nil, at(1).Add(lease))
		require.NoError(t, err)
		require.Equal(t, store.Accepted{MessageID: reply.ID, Held: store.Held{Seq: 2, Epoch: accepted.Held.Epoch}}, accepted)
		last := accept(t, s, c, "ana", "obrigada", at(2))
		reply.Seq = 2
		want := []store.Message{*first, *reply, *last}
		got, err := s.Messages(t.Context(), first.ThreadKey, 0, 10)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.EqualValues(t, 3, backlog(t, s).Messages)
		threads := claimThreads(t, s, at(3), 1)
		require.Len(t, threads, 1)
		require.Equal(t, want, threads[0].Pending)
	}},
	{"what people say to an idle thread is taken at once, and once by its key", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		said := func(fingerprint byte) (*store.Message, *store.Key) {
			m := message(c, "ana", "olá", at(0))
			m.ReplyTo = "64a1b2c3d4e5f6a7b8c9d0e2"
			return m, &store.Key{Scope: "ReplyToAttendance", Key: "k", Fingerprint: [32]byte{fingerprint}, Response: []byte(m.ID)}
		}
		first, key := said(1)
		accepted, err := s.Accept(t.Context(), first, key, at(0).Add(lease))
		require.NoError(t, err)
		require.Equal(t, store.Accepted{MessageID: first.ID, Held: store.Held{Seq: 1, Epoch: accepted.Held.Epoch, OK: true}}, accepted)
		again, key := said(1)
		accepted, err = s.Accept(t.Context(), again, key, at(0).Add(lease))
		require.NoError(t, err)
		require.Equal(t, store.Accepted{MessageID: first.ID, Replayed: true}, accepted)
		other, key := said(2)
		_, err = s.Accept(t.Context(), other, key, at(0).Add(lease))
		require.ErrorIs(t, err, idempotency.ErrReused)
		require.EqualValues(t, 1, backlog(t, s).Messages)

		gone := create(t, s, "acme", 2)
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", gone.ID, at(1)))
		lost, key := said(3)
		lost.ChannelID, key.Key = gone.ID, "k2"
		for _, k := range []*store.Key{key, nil} {
			_, err = s.Accept(t.Context(), lost, k, time.Time{})
			require.ErrorIs(t, err, store.ErrChannelNotFound)
		}
		accepted, err = s.Accept(t.Context(), again, nil, time.Time{})
		require.NoError(t, err)
		require.EqualValues(t, 2, accepted.Held.Seq)
	}},
	{"a key is remembered for a call that stores nothing here", func(t *testing.T, s *store.Store) {
		key := func(fingerprint byte, response string) *store.Key {
			return &store.Key{Scope: "ReplyToAttendance", Key: "k", Fingerprint: [32]byte{fingerprint}, Response: []byte(response)}
		}
		for _, response := range []string{"first", "second"} {
			got, err := s.Remember(t.Context(), "acme", key(1, response), at(0))
			require.NoError(t, err)
			require.Equal(t, "first", string(got))
		}
		_, err := s.Remember(t.Context(), "acme", key(2, "third"), at(0))
		require.ErrorIs(t, err, idempotency.ErrReused)
		got, err := s.Remember(t.Context(), "other", key(2, "theirs"), at(0))
		require.NoError(t, err)
		require.Equal(t, "theirs", string(got))
		got, err = s.Recall(t.Context(), "acme", key(1, ""), at(0))
		require.NoError(t, err)
		require.Equal(t, "first", string(got))
	}},
	{"many senders at once leave no gap", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		const senders = 40
		all := make([]*store.Message, senders)
		for i := range all {
			all[i] = message(c, "ana", "oi", at(i))
		}
		var group sync.WaitGroup
		seen := make([]int64, senders)
		for i, m := range all {
			group.Go(func() {
				accepted, err := s.Accept(t.Context(), m, nil, time.Time{})
				if err == nil {
					seen[i] = accepted.Held.Seq
				}
			})
		}
		group.Wait()
		numbers := map[int64]bool{}
		for _, seq := range seen {
			numbers[seq] = true
		}
		require.Len(t, numbers, senders)
		require.True(t, numbers[1] && numbers[senders])
		require.EqualValues(t, senders, backlog(t, s).Messages)
	}},
	{"the same key gives the first message again", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		key := func(fingerprint byte, m *store.Message) *store.Key {
			return &store.Key{Scope: "ReceiveMessage/" + c.ID, Key: "k1", Fingerprint: [32]byte{fingerprint}, Response: []byte(m.ID)}
		}
		first := message(c, "ana", "oi", at(0))
		accepted, err := s.Accept(t.Context(), first, key(1, first), time.Time{})
		require.NoError(t, err)
		require.False(t, accepted.Replayed)
		again := message(c, "ana", "oi", at(1))
		accepted, err = s.Accept(t.Context(), again, key(1, again), at(1).Add(lease))
		require.NoError(t, err)
		require.Equal(t, store.Accepted{MessageID: first.ID, Replayed: true}, accepted)
		_, err = s.Accept(t.Context(), again, key(2, again), time.Time{})
		require.ErrorIs(t, err, idempotency.ErrReused)
		require.EqualValues(t, 1, backlog(t, s).Messages)

		// One moment before its end the key stands, then it is free.
		late := message(c, "ana", "oi", at(0).Add(24*time.Hour-time.Microsecond))
		accepted, err = s.Accept(t.Context(), late, key(1, late), time.Time{})
		require.NoError(t, err)
		require.True(t, accepted.Replayed)
		late.CreateTime = at(0).Add(24 * time.Hour)
		accepted, err = s.Accept(t.Context(), late, key(2, late), time.Time{})
		require.NoError(t, err)
		require.False(t, accepted.Replayed)
		require.EqualValues(t, 2, backlog(t, s).Messages)
	}},
	{"the same key fifty times at once stores one message", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		const calls = 50
		all := make([]*store.Message, calls)
		for i := range all {
			all[i] = message(c, "ana", "oi", at(0))
		}
		got := make([]string, calls)
		errs := make([]error, calls)
		var group sync.WaitGroup
		for i, m := range all {
			group.Go(func() {
				accepted, err := s.Accept(t.Context(), m, &store.Key{Scope: "s", Key: "k", Response: []byte(m.ID)}, time.Time{})
				got[i], errs[i] = accepted.MessageID, err
			})
		}
		group.Wait()
		for i := range calls {
			require.NoError(t, errs[i])
			require.Equal(t, got[0], got[i])
		}
		require.EqualValues(t, 1, backlog(t, s).Messages)
	}},
	{"accepting can take the thread, if it is idle", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		m := message(c, "ana", "1", at(0))
		accepted, err := s.Accept(t.Context(), m, nil, at(0).Add(lease))
		require.NoError(t, err)
		first := accepted.Held.Epoch
		require.Equal(t, store.Held{Seq: 1, Epoch: first, OK: true}, accepted.Held)
		require.Empty(t, claimThreads(t, s, at(1), 10), "the thread is held")
		second := message(c, "ana", "2", at(1))
		accepted2, err := s.Accept(t.Context(), second, nil, at(1).Add(lease))
		require.NoError(t, err)
		require.Equal(t, store.Held{Seq: 2, Epoch: first, OK: false}, accepted2.Held)
		finished := answer(t, s, store.Thread{ThreadKey: m.ThreadKey, Epoch: first}, "i", 0, at(2))
		require.True(t, finished.More)
		if s.Exclusive() {
			second.Seq = 2
			require.Equal(t, []store.Message{*second}, finished.Pending, "what came since need not be read")
		}
		finished = answer(t, s, store.Thread{ThreadKey: m.ThreadKey, Epoch: first, DoneSeq: 1}, "i", 0, at(2))
		require.False(t, finished.More)
		third, err := s.Accept(t.Context(), message(c, "ana", "3", at(3)), nil, at(3).Add(lease))
		require.NoError(t, err)
		require.Equal(t, store.Held{Seq: 3, Epoch: first + 1, OK: true}, third.Held)
	}},
}

package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// botMessage is a message to an integration.
func botMessage(b *store.BotAPI, person, text string, sent []byte, now time.Time) *store.Message {
	m := message(&store.Channel{Instance: b.Instance, ID: b.ID}, person, text, now)
	m.Context = sent
	return m
}

// botLane makes a lane of an integration with one pending delivery, which
// nobody holds.
func botLane(t *testing.T, s *store.Store, b *store.BotAPI, interaction string, now time.Time) store.LaneKey {
	t.Helper()
	m := botMessage(b, "person of "+interaction, "oi", nil, now)
	accepted, err := s.Accept(t.Context(), m, nil, now.Add(lease))
	require.NoError(t, err)
	require.True(t, accepted.Held.OK)
	answer(t, s, store.Thread{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, DoneSeq: accepted.Held.Seq - 1}, interaction, 1, now)
	return store.LaneKey{Instance: b.Instance, EndpointID: b.ID, InteractionID: interaction}
}

var botMessageCases = []Case{
	{"messages to an integration are kept with what was sent", func(t *testing.T, s *store.Store) {
		b := createBotAPI(t, s, "acme", 1)
		sent := []byte{0, 255, 10}
		with, without := botMessage(b, "ana", "oi", sent, at(1)), botMessage(b, "ana", "", nil, at(2))
		key := &store.Key{Scope: "x", Key: "k", Response: []byte(with.ID)}
		accepted, err := s.Accept(t.Context(), with, key, time.Time{})
		require.NoError(t, err)
		require.Equal(t, with.ID, accepted.MessageID)
		again, err := s.Accept(t.Context(), botMessage(b, "ana", "oi", sent, at(2)), key, time.Time{})
		require.NoError(t, err)
		require.True(t, again.Replayed)
		require.Equal(t, with.ID, again.MessageID)
		_, err = s.Accept(t.Context(), without, nil, time.Time{})
		require.NoError(t, err)

		check := func(got []store.Message) {
			t.Helper()
			require.Len(t, got, 2)
			require.Equal(t, sent, got[0].Context)
			require.Equal(t, "oi", got[0].Text)
			require.Nil(t, got[1].Context)
			require.Empty(t, got[1].Text)
		}
		read, err := s.Messages(t.Context(), with.ThreadKey, 0, 10)
		require.NoError(t, err)
		check(read)
		threads := claimThreads(t, s, at(3), 10)
		require.Len(t, threads, 1)
		check(threads[0].Pending)
	}},
	{"a message says what became of it", func(t *testing.T, s *store.Store) {
		b := createBotAPI(t, s, "acme", 1)
		first, second := botMessage(b, "ana", "1", nil, at(1)), botMessage(b, "ana", "2", nil, at(1))
		for _, m := range []*store.Message{first, second} {
			_, err := s.Accept(t.Context(), m, nil, time.Time{})
			require.NoError(t, err)
		}
		outcome := func(m *store.Message) store.Outcome {
			t.Helper()
			got, err := s.Outcome(t.Context(), m.ThreadKey, m.ID)
			require.NoError(t, err)
			return got
		}
		require.Equal(t, store.Waiting, outcome(first))
		thread := claimThreads(t, s, at(2), 1)[0]
		answer(t, s, thread, "i", 1, at(3))
		require.Equal(t, store.Done, outcome(first))
		require.Equal(t, store.Waiting, outcome(second))
		_, err := s.SetAside(t.Context(), thread.ThreadKey, thread.Epoch, 2, "INTERNAL")
		require.NoError(t, err)
		require.Equal(t, store.Done, outcome(first))
		require.Equal(t, store.SetAside, outcome(second))

		other := *first
		other.ClientIdentifier = "rui"
		require.Equal(t, store.Waiting, outcome(&other), "of another person")
		other = *first
		other.Instance = "other"
		require.Equal(t, store.Waiting, outcome(&other), "of another instance")
	}},
	{"an integration is ready while it is active and has a callback", func(t *testing.T, s *store.Store) {
		b, c := createBotAPI(t, s, "acme", 1), create(t, s, "acme", 2)
		botLane(t, s, b, "i", at(1))
		lane(t, s, c, "j", 1, at(1))
		ready := func() []store.Endpoint {
			t.Helper()
			got, err := s.ReadyEndpoints(t.Context(), at(2))
			require.NoError(t, err)
			return got
		}
		both, channelOnly := []store.Endpoint{{Instance: "acme", ID: b.ID}, endpoint(c)}, []store.Endpoint{endpoint(c)}
		require.Equal(t, both, ready())
		_, err := s.MoveBotAPI(t.Context(), "acme", b.ID, store.Paused, at(2))
		require.NoError(t, err)
		require.Equal(t, channelOnly, ready())
		_, err = s.MoveBotAPI(t.Context(), "acme", b.ID, store.Active, at(2))
		require.NoError(t, err)
		none := []byte(nil)
		_, err = s.UpdateBotAPI(t.Context(), "acme", b.ID, store.BotAPIChange{CallbackURL: new(string), CallbackToken: &none}, at(2))
		require.NoError(t, err)
		require.Equal(t, channelOnly, ready(), "without a callback it waits")
		target, token := "https://example.com/2", []byte{1}
		_, err = s.UpdateBotAPI(t.Context(), "acme", b.ID, store.BotAPIChange{CallbackURL: &target, CallbackToken: &token}, at(2))
		require.NoError(t, err)
		require.Equal(t, both, ready())
		lanes, err := s.ClaimLanes(t.Context(), []store.Claim{{Endpoint: both[0], Limit: 5}}, at(2), at(2).Add(lease))
		require.NoError(t, err)
		require.Len(t, lanes, 1)
		require.Len(t, lanes[0].Pending, 1)
	}},
	{"what a deleted integration left behind is cancelled", func(t *testing.T, s *store.Store) {
		b, c := createBotAPI(t, s, "acme", 1), create(t, s, "acme", 2)
		key := botLane(t, s, b, "i", at(1))
		waiting := botMessage(b, "ana", "oi", nil, at(1))
		_, err := s.Accept(t.Context(), waiting, nil, time.Time{})
		require.NoError(t, err)
		require.NoError(t, s.DeleteBotAPI(t.Context(), "acme", b.ID, at(3)))
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(2)))
		_, err = s.Accept(t.Context(), botMessage(b, "ana", "oi", nil, at(4)), nil, time.Time{})
		require.ErrorIs(t, err, store.ErrChannelNotFound)

		gone := store.Endpoint{Instance: "acme", ID: b.ID}
		unreaped, err := s.Unreaped(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, []store.Deleted{{Endpoint: endpoint(c), DeleteTime: at(2)}, {Endpoint: gone, DeleteTime: at(3)}}, unreaped, "in the order of deletion")
		n, _, err := s.CancelThreads(t.Context(), gone)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		n, _, err = s.CancelLanes(t.Context(), gone, at(5))
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		require.Equal(t, []store.DeliveryState{store.Cancelled}, states(deliveries(t, s, key)))
		require.NoError(t, s.MarkReaped(t.Context(), gone, at(6)))
		unreaped, err = s.Unreaped(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, []store.Deleted{{Endpoint: endpoint(c), DeleteTime: at(2)}}, unreaped)
	}},
}

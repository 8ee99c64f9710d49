package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
)

var channelCases = []Case{
	{"channel round trip", func(t *testing.T, s *store.Store) {
		c := channel("acme", 1)
		c.DisplayName, c.Test, c.InboundTokenHash, c.StateReason = "São João 🤖", true, []byte{0, 1, 255}, "por quê"
		c.Acknowledgement, c.Timeout, c.State = store.Any2xx, 1500*time.Millisecond, store.Paused
		c.FailurePolicy, c.SkipAfter = store.Park, 2500*time.Millisecond
		c.CreateTime = start.Add(123456 * time.Microsecond)
		_, err := s.CreateChannel(t.Context(), c, nil)
		require.NoError(t, err)
		got, err := s.Channel(t.Context(), "acme", c.ID)
		require.NoError(t, err)
		require.Equal(t, c, got)
		got, err = s.ChannelByID(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, c, got)
	}},
	{"channel of another instance is not found", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		_, err := s.Channel(t.Context(), "other", c.ID)
		require.ErrorIs(t, err, store.ErrChannelNotFound)
		name := "x"
		_, err = s.UpdateChannel(t.Context(), "other", c.ID, store.ChannelChange{DisplayName: &name}, at(5))
		require.ErrorIs(t, err, store.ErrChannelNotFound)
		require.ErrorIs(t, s.DeleteChannel(t.Context(), "other", c.ID, at(5)), store.ErrChannelNotFound)
		moved, err := s.SetState(t.Context(), "other", c.ID, store.Active, store.Paused, "", at(5))
		require.NoError(t, err)
		require.False(t, moved)
		got, err := s.Channel(t.Context(), "acme", c.ID)
		require.NoError(t, err)
		require.Equal(t, c, got)
	}},
	{"another webhook brings a disabled channel back, a paused one stays", func(t *testing.T, s *store.Store) {
		for n, test := range []struct {
			state  store.State
			url    string
			want   store.State
			reason string
		}{
			{store.Disabled, "https://example.com/moved", store.Active, ""},
			{store.Disabled, channel("acme", 0).WebhookURL, store.Disabled, "gone"},
			{store.Paused, "https://example.com/moved", store.Paused, "gone"},
		} {
			c := create(t, s, "acme", n)
			moved, err := s.SetState(t.Context(), "acme", c.ID, store.Active, test.state, "gone", at(5))
			require.NoError(t, err)
			require.True(t, moved)
			got, err := s.UpdateChannel(t.Context(), "acme", c.ID, store.ChannelChange{WebhookURL: &test.url}, at(6))
			require.NoError(t, err)
			require.Equal(t, test.want, got.State)
			require.Equal(t, test.reason, got.StateReason)
		}
	}},
	{"list is oldest first, page by page, of one instance", func(t *testing.T, s *store.Store) {
		for _, n := range []int{3, 1, 2} {
			create(t, s, "acme", n)
		}
		same := channel("acme", 0)
		same.CreateTime = at(1) // as old as number 1, with a smaller id
		_, err := s.CreateChannel(t.Context(), same, nil)
		require.NoError(t, err)
		create(t, s, "other", 9)
		page, err := s.ListChannels(t.Context(), "acme", time.Time{}, "", 2)
		require.NoError(t, err)
		require.Equal(t, []string{channel("", 0).ID, channel("", 1).ID}, ids(page))
		page, err = s.ListChannels(t.Context(), "acme", page[1].CreateTime, page[1].ID, 10)
		require.NoError(t, err)
		require.Equal(t, []string{channel("", 2).ID, channel("", 3).ID}, ids(page))
	}},
	{"update changes what is named and nothing else", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		name, agent, target, hash, ack, limit := "novo", "b", "https://example.com/2", []byte{7}, store.Any2xx, 2*time.Second
		hold := store.Hold
		for _, change := range []struct {
			change store.ChannelChange
			apply  func()
		}{
			{store.ChannelChange{}, func() {}},
			{store.ChannelChange{DisplayName: &name}, func() { c.DisplayName = name }},
			{store.ChannelChange{AgentID: &agent, WebhookURL: &target}, func() { c.AgentID, c.WebhookURL = agent, target }},
			{store.ChannelChange{InboundTokenHash: &hash}, func() { c.InboundTokenHash = hash }},
			{store.ChannelChange{Acknowledgement: &ack, Timeout: &limit}, func() { c.Acknowledgement, c.Timeout = ack, limit }},
			{store.ChannelChange{InboundTokenHash: new([]byte)}, func() { c.InboundTokenHash = nil }},
			{store.ChannelChange{FailurePolicy: &hold, SkipAfter: &limit}, func() { c.FailurePolicy, c.SkipAfter = hold, limit }},
			{store.ChannelChange{SkipAfter: new(time.Duration)}, func() { c.SkipAfter = 0 }},
		} {
			change.apply()
			c.UpdateTime = c.UpdateTime.Add(time.Millisecond)
			got, err := s.UpdateChannel(t.Context(), "acme", c.ID, change.change, c.UpdateTime)
			require.NoError(t, err)
			require.Equal(t, c, got)
		}
	}},
	{"a deleted channel is gone everywhere", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(9)))
		require.ErrorIs(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(9)), store.ErrChannelNotFound)
		_, err := s.Channel(t.Context(), "acme", c.ID)
		require.ErrorIs(t, err, store.ErrChannelNotFound)
		_, err = s.ChannelByID(t.Context(), c.ID)
		require.ErrorIs(t, err, store.ErrChannelNotFound)
		page, err := s.ListChannels(t.Context(), "acme", time.Time{}, "", 10)
		require.NoError(t, err)
		require.Empty(t, page)
		_, err = s.UpdateChannel(t.Context(), "acme", c.ID, store.ChannelChange{}, at(10))
		require.ErrorIs(t, err, store.ErrChannelNotFound)
		_, err = s.Accept(t.Context(), message(c, "p", "oi", at(10)), nil, time.Time{})
		require.ErrorIs(t, err, store.ErrChannelNotFound)
		key := &store.Key{Scope: "x", Key: "k", Response: []byte("r")}
		_, err = s.Accept(t.Context(), message(c, "p", "oi", at(10)), key, time.Time{})
		require.ErrorIs(t, err, store.ErrChannelNotFound)
		first, err := s.Recall(t.Context(), "acme", key, at(10))
		require.NoError(t, err)
		require.Nil(t, first, "a refused message must not use its key up")
	}},
	{"state moves only from the state named", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		moved, err := s.SetState(t.Context(), "acme", c.ID, store.Paused, store.Disabled, "x", at(2))
		require.NoError(t, err)
		require.False(t, moved)
		moved, err = s.SetState(t.Context(), "acme", c.ID, store.Active, store.Disabled, "gone", at(2))
		require.NoError(t, err)
		require.True(t, moved)
		got, err := s.Channel(t.Context(), "acme", c.ID)
		require.NoError(t, err)
		require.Equal(t, store.Disabled, got.State)
		require.Equal(t, "gone", got.StateReason)
	}},
	{"a channel is moved from any state, and changed only when it is in another", func(t *testing.T, s *store.Store) {
		c := create(t, s, "acme", 1)
		_, err := s.SetState(t.Context(), "acme", c.ID, store.Active, store.Disabled, "gone", at(2))
		require.NoError(t, err)
		for _, step := range []struct {
			to     store.State
			now    int
			reason string
			update int
		}{
			{store.Disabled, 3, "gone", 2},
			{store.Paused, 4, "", 4},
			{store.Paused, 5, "", 4},
			{store.Active, 6, "", 6},
			{store.Active, 7, "", 6},
		} {
			got, err := s.Move(t.Context(), "acme", c.ID, step.to, at(step.now))
			require.NoError(t, err)
			c.State, c.StateReason, c.UpdateTime = step.to, step.reason, at(step.update)
			require.Equal(t, c, got)
		}
		_, err = s.Move(t.Context(), "other", c.ID, store.Paused, at(8))
		require.ErrorIs(t, err, store.ErrChannelNotFound)
		require.NoError(t, s.DeleteChannel(t.Context(), "acme", c.ID, at(9)))
		_, err = s.Move(t.Context(), "acme", c.ID, store.Paused, at(10))
		require.ErrorIs(t, err, store.ErrChannelNotFound)
	}},
	{"secrets are replaced only by who read them", func(t *testing.T, s *store.Store) {
		first := create(t, s, "acme", 1)
		second, replay, err := s.ReplaceSecret(t.Context(), first, []byte{0, 255, 1}, nil, at(2))
		require.NoError(t, err)
		require.Nil(t, replay)
		want := *first
		want.Secret, want.UpdateTime = []byte{0, 255, 1}, at(2)
		require.Equal(t, &want, second)

		key := &store.Key{Scope: "x", Key: "k", Response: []byte("r")}
		_, _, err = s.ReplaceSecret(t.Context(), first, []byte("late"), key, at(3))
		require.ErrorIs(t, err, store.ErrSecretChanged)
		response, err := s.Recall(t.Context(), "acme", key, at(3))
		require.NoError(t, err)
		require.Nil(t, response, "what was not done must not use its key up")
		strange := *second
		strange.Instance = "other"
		_, _, err = s.ReplaceSecret(t.Context(), &strange, []byte("theirs"), nil, at(3))
		require.ErrorIs(t, err, store.ErrSecretChanged)

		third, replay, err := s.ReplaceSecret(t.Context(), second, []byte("third"), key, at(4))
		require.NoError(t, err)
		require.Nil(t, replay)
		again, replay, err := s.ReplaceSecret(t.Context(), third, []byte("fourth"), key, at(5))
		require.NoError(t, err)
		require.Nil(t, again)
		require.Equal(t, "r", string(replay))
		got, err := s.Channel(t.Context(), "acme", first.ID)
		require.NoError(t, err)
		require.Equal(t, "third", string(got.Secret))
		_, _, err = s.ReplaceSecret(t.Context(), third, []byte("fourth"), &store.Key{Scope: "x", Key: "k", Fingerprint: [32]byte{1}}, at(6))
		require.ErrorIs(t, err, idempotency.ErrReused)
	}},
	{"create with a key takes effect once", func(t *testing.T, s *store.Store) {
		key := func(fingerprint byte, response string) *store.Key {
			return &store.Key{Scope: "CreateChannel", Key: "k", Fingerprint: [32]byte{fingerprint}, Response: []byte(response)}
		}
		replay, err := s.CreateChannel(t.Context(), channel("acme", 1), key(1, "first"))
		require.NoError(t, err)
		require.Nil(t, replay)
		replay, err = s.CreateChannel(t.Context(), channel("acme", 2), key(1, "second"))
		require.NoError(t, err)
		require.Equal(t, "first", string(replay))
		_, err = s.CreateChannel(t.Context(), channel("acme", 3), key(2, "third"))
		require.ErrorIs(t, err, idempotency.ErrReused)
		replay, err = s.CreateChannel(t.Context(), channel("other", 4), key(2, "of another instance"))
		require.NoError(t, err)
		require.Nil(t, replay)
		page, err := s.ListChannels(t.Context(), "acme", time.Time{}, "", 10)
		require.NoError(t, err)
		require.Len(t, page, 1)
	}},
}

func ids(page []*store.Channel) []string {
	result := make([]string, len(page))
	for i, c := range page {
		result[i] = c.ID
	}
	return result
}

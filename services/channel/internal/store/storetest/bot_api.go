package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
)

func botAPI(instance string, n int) *store.BotAPI {
	return &store.BotAPI{
		Instance: instance, ID: fmt.Sprintf("%024x", n), DisplayName: "Integração", AgentID: "a", Squad: "geral", Version: store.BotV2,
		CallbackURL: "https://example.com/back", CallbackToken: []byte{0, 255, 7}, TokenHash: []byte{1, 0, 2}, State: store.Active,
		Secret: []byte("sealed"), CreateTime: at(n), UpdateTime: at(n),
	}
}

func createBotAPI(t *testing.T, s *store.Store, instance string, n int) *store.BotAPI {
	t.Helper()
	b := botAPI(instance, n)
	_, err := s.CreateBotAPI(t.Context(), b, nil)
	require.NoError(t, err)
	return b
}

var botAPICases = []Case{
	{"integration round trip", func(t *testing.T, s *store.Store) {
		full, bare := botAPI("acme", 1), botAPI("acme", 2)
		full.DisplayName, full.Squad, full.Version, full.IncludeContext = "São João 🤖", "vendas", store.BotV1, true
		full.State, full.StateReason = store.Paused, "por quê"
		full.CreateTime = start.Add(123456 * time.Microsecond)
		bare.CallbackURL, bare.CallbackToken = "", nil
		for _, b := range []*store.BotAPI{full, bare} {
			_, err := s.CreateBotAPI(t.Context(), b, nil)
			require.NoError(t, err)
			got, err := s.BotAPI(t.Context(), "acme", b.ID)
			require.NoError(t, err)
			require.Equal(t, b, got)
			got, err = s.BotAPIByID(t.Context(), b.ID)
			require.NoError(t, err)
			require.Equal(t, b, got)
		}
	}},
	{"integration of another instance is not found", func(t *testing.T, s *store.Store) {
		b := createBotAPI(t, s, "acme", 1)
		_, err := s.BotAPI(t.Context(), "other", b.ID)
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		_, err = s.UpdateBotAPI(t.Context(), "other", b.ID, store.BotAPIChange{Squad: new(string)}, at(5))
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		_, err = s.MoveBotAPI(t.Context(), "other", b.ID, store.Paused, at(5))
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		_, _, err = s.ReplaceBotAPIToken(t.Context(), "other", b.ID, []byte("theirs"), nil, at(5))
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		strange := *b
		strange.Instance = "other"
		_, _, err = s.ReplaceBotAPISecret(t.Context(), &strange, []byte("theirs"), nil, at(5))
		require.ErrorIs(t, err, store.ErrSecretChanged)
		require.ErrorIs(t, s.DeleteBotAPI(t.Context(), "other", b.ID, at(5)), store.ErrBotAPINotFound)
		moved, err := s.SetBotAPIState(t.Context(), "other", b.ID, store.Active, store.Disabled, "", at(5))
		require.NoError(t, err)
		require.False(t, moved)
		got, err := s.BotAPI(t.Context(), "acme", b.ID)
		require.NoError(t, err)
		require.Equal(t, b, got)
		_, err = s.ChannelByID(t.Context(), b.ID)
		require.ErrorIs(t, err, store.ErrChannelNotFound, "an integration is no channel")
	}},
	{"integrations are listed oldest first, page by page, of one instance", func(t *testing.T, s *store.Store) {
		for _, n := range []int{3, 1, 2} {
			createBotAPI(t, s, "acme", n)
		}
		same := botAPI("acme", 0)
		same.CreateTime = at(1) // as old as number 1, with a smaller id
		_, err := s.CreateBotAPI(t.Context(), same, nil)
		require.NoError(t, err)
		createBotAPI(t, s, "other", 9)
		names := func(page []*store.BotAPI) (names []string) {
			for _, b := range page {
				names = append(names, b.ID)
			}
			return names
		}
		page, err := s.ListBotAPIs(t.Context(), "acme", time.Time{}, "", 2)
		require.NoError(t, err)
		require.Equal(t, []string{botAPI("", 0).ID, botAPI("", 1).ID}, names(page))
		page, err = s.ListBotAPIs(t.Context(), "acme", page[1].CreateTime, page[1].ID, 10)
		require.NoError(t, err)
		require.Equal(t, []string{botAPI("", 2).ID, botAPI("", 3).ID}, names(page))
	}},
	{"update of an integration changes what is named and nothing else", func(t *testing.T, s *store.Store) {
		b := createBotAPI(t, s, "acme", 1)
		name, agent, squad, version, target, token, include := "novo", "b", "vendas", store.BotV1, "https://example.com/2", []byte{9, 0}, true
		none, off, noToken := "", false, []byte(nil)
		for _, change := range []struct {
			change store.BotAPIChange
			apply  func()
		}{
			{store.BotAPIChange{}, func() {}},
			{store.BotAPIChange{DisplayName: &name, Squad: &squad}, func() { b.DisplayName, b.Squad = name, squad }},
			{store.BotAPIChange{AgentID: &agent, Version: &version}, func() { b.AgentID, b.Version = agent, version }},
			{store.BotAPIChange{CallbackURL: &target}, func() { b.CallbackURL = target }},
			{store.BotAPIChange{CallbackToken: &token, IncludeContext: &include}, func() { b.CallbackToken, b.IncludeContext = token, true }},
			{store.BotAPIChange{CallbackURL: &none, CallbackToken: &noToken}, func() { b.CallbackURL, b.CallbackToken = "", nil }},
			{store.BotAPIChange{CallbackURL: &target, CallbackToken: &token, IncludeContext: &off}, func() {
				b.CallbackURL, b.CallbackToken, b.IncludeContext = target, token, false
			}},
		} {
			change.apply()
			b.UpdateTime = b.UpdateTime.Add(time.Millisecond)
			got, err := s.UpdateBotAPI(t.Context(), "acme", b.ID, change.change, b.UpdateTime)
			require.NoError(t, err)
			require.Equal(t, b, got)
		}
	}},
	{"callback and token are there together or not at all", func(t *testing.T, s *store.Store) {
		with, without := createBotAPI(t, s, "acme", 1), botAPI("acme", 2)
		without.CallbackURL, without.CallbackToken = "", nil
		_, err := s.CreateBotAPI(t.Context(), without, nil)
		require.NoError(t, err)
		none, target, noToken, token := "", "https://example.com/2", []byte(nil), []byte{1}
		for _, refused := range []struct {
			row    *store.BotAPI
			change store.BotAPIChange
		}{
			{with, store.BotAPIChange{CallbackURL: &none}},
			{with, store.BotAPIChange{CallbackToken: &noToken}},
			{with, store.BotAPIChange{CallbackURL: &none, CallbackToken: &token}},
			{without, store.BotAPIChange{CallbackURL: &target}},
			{without, store.BotAPIChange{CallbackToken: &token}},
			{without, store.BotAPIChange{CallbackURL: &target, CallbackToken: &noToken}},
		} {
			_, err := s.UpdateBotAPI(t.Context(), "acme", refused.row.ID, refused.change, at(5))
			require.ErrorIs(t, err, store.ErrCallbackIncomplete)
			got, err := s.BotAPI(t.Context(), "acme", refused.row.ID)
			require.NoError(t, err)
			require.Equal(t, refused.row, got)
		}
	}},
	{"another callback brings a disabled integration back, a paused one stays", func(t *testing.T, s *store.Store) {
		for n, test := range []struct {
			state  store.State
			url    string
			want   store.State
			reason string
		}{
			{store.Disabled, "https://example.com/moved", store.Active, ""},
			{store.Disabled, botAPI("acme", 0).CallbackURL, store.Disabled, "gone"},
			{store.Paused, "https://example.com/moved", store.Paused, "gone"},
		} {
			b := createBotAPI(t, s, "acme", n)
			moved, err := s.SetBotAPIState(t.Context(), "acme", b.ID, store.Active, test.state, "gone", at(5))
			require.NoError(t, err)
			require.True(t, moved)
			moved, err = s.SetBotAPIState(t.Context(), "acme", b.ID, store.Active, test.state, "gone", at(5))
			require.NoError(t, err)
			require.False(t, moved)
			got, err := s.UpdateBotAPI(t.Context(), "acme", b.ID, store.BotAPIChange{CallbackURL: &test.url}, at(6))
			require.NoError(t, err)
			require.Equal(t, test.want, got.State)
			require.Equal(t, test.reason, got.StateReason)
		}
	}},
	{"an integration is moved from any state, and changed only when it is in another", func(t *testing.T, s *store.Store) {
		b := createBotAPI(t, s, "acme", 1)
		_, err := s.SetBotAPIState(t.Context(), "acme", b.ID, store.Active, store.Disabled, "gone", at(2))
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
			got, err := s.MoveBotAPI(t.Context(), "acme", b.ID, step.to, at(step.now))
			require.NoError(t, err)
			b.State, b.StateReason, b.UpdateTime = step.to, step.reason, at(step.update)
			require.Equal(t, b, got)
		}
	}},
	{"secret and token of an integration are replaced once for a key", func(t *testing.T, s *store.Store) {
		first := createBotAPI(t, s, "acme", 1)
		key := &store.Key{Scope: "x", Key: "k", Response: []byte("r")}
		second, replay, err := s.ReplaceBotAPISecret(t.Context(), first, []byte{0, 255, 1}, nil, at(2))
		require.NoError(t, err)
		require.Nil(t, replay)
		want := *first
		want.Secret, want.UpdateTime = []byte{0, 255, 1}, at(2)
		require.Equal(t, &want, second)
		_, _, err = s.ReplaceBotAPISecret(t.Context(), first, []byte("late"), key, at(3))
		require.ErrorIs(t, err, store.ErrSecretChanged)
		response, err := s.Recall(t.Context(), "acme", key, at(3))
		require.NoError(t, err)
		require.Nil(t, response, "what was not done must not use its key up")
		third, replay, err := s.ReplaceBotAPISecret(t.Context(), second, []byte("third"), key, at(4))
		require.NoError(t, err)
		require.Nil(t, replay)
		again, replay, err := s.ReplaceBotAPISecret(t.Context(), third, []byte("fourth"), key, at(5))
		require.NoError(t, err)
		require.Nil(t, again)
		require.Equal(t, "r", string(replay))

		key.Scope = "y"
		changed, replay, err := s.ReplaceBotAPIToken(t.Context(), "acme", first.ID, []byte{4, 0}, key, at(6))
		require.NoError(t, err)
		require.Nil(t, replay)
		require.Equal(t, []byte{4, 0}, changed.TokenHash)
		again, replay, err = s.ReplaceBotAPIToken(t.Context(), "acme", first.ID, []byte{5}, key, at(7))
		require.NoError(t, err)
		require.Nil(t, again)
		require.Equal(t, "r", string(replay))
		got, err := s.BotAPI(t.Context(), "acme", first.ID)
		require.NoError(t, err)
		require.Equal(t, changed, got)
		require.Equal(t, "third", string(got.Secret))
		_, _, err = s.ReplaceBotAPIToken(t.Context(), "acme", first.ID, []byte{5}, &store.Key{Scope: "y", Key: "k", Fingerprint: [32]byte{1}}, at(8))
		require.ErrorIs(t, err, idempotency.ErrReused)
	}},
	{"a deleted integration is gone everywhere", func(t *testing.T, s *store.Store) {
		b := createBotAPI(t, s, "acme", 1)
		require.NoError(t, s.DeleteBotAPI(t.Context(), "acme", b.ID, at(9)))
		require.ErrorIs(t, s.DeleteBotAPI(t.Context(), "acme", b.ID, at(9)), store.ErrBotAPINotFound)
		_, err := s.BotAPI(t.Context(), "acme", b.ID)
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		_, err = s.BotAPIByID(t.Context(), b.ID)
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		page, err := s.ListBotAPIs(t.Context(), "acme", time.Time{}, "", 10)
		require.NoError(t, err)
		require.Empty(t, page)
		_, err = s.UpdateBotAPI(t.Context(), "acme", b.ID, store.BotAPIChange{}, at(10))
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		_, err = s.MoveBotAPI(t.Context(), "acme", b.ID, store.Paused, at(10))
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		_, _, err = s.ReplaceBotAPIToken(t.Context(), "acme", b.ID, []byte{5}, nil, at(10))
		require.ErrorIs(t, err, store.ErrBotAPINotFound)
		_, _, err = s.ReplaceBotAPISecret(t.Context(), b, []byte{5}, nil, at(10))
		require.ErrorIs(t, err, store.ErrSecretChanged)
	}},
	{"an integration is created once for a key", func(t *testing.T, s *store.Store) {
		key := func(fingerprint byte, response string) *store.Key {
			return &store.Key{Scope: "CreateBotApi", Key: "k", Fingerprint: [32]byte{fingerprint}, Response: []byte(response)}
		}
		replay, err := s.CreateBotAPI(t.Context(), botAPI("acme", 1), key(1, "first"))
		require.NoError(t, err)
		require.Nil(t, replay)
		replay, err = s.CreateBotAPI(t.Context(), botAPI("acme", 2), key(1, "second"))
		require.NoError(t, err)
		require.Equal(t, "first", string(replay))
		_, err = s.CreateBotAPI(t.Context(), botAPI("acme", 3), key(2, "third"))
		require.ErrorIs(t, err, idempotency.ErrReused)
		replay, err = s.CreateBotAPI(t.Context(), botAPI("other", 4), key(2, "of another instance"))
		require.NoError(t, err)
		require.Nil(t, replay)
		page, err := s.ListBotAPIs(t.Context(), "acme", time.Time{}, "", 10)
		require.NoError(t, err)
		require.Len(t, page, 1)
	}},
}

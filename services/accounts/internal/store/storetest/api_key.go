package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/accounts/internal/store"
)

func keyIsKeptAsGiven(t *testing.T, f *fixture) {
	f.createInstance(t, instance("acme"))
	plain := key("acme", "000000000000000000000001")
	full := key("acme", "000000000000000000000002")
	full.Scopes = []string{"manage", "contacts.read", "conversations"}
	full.ExpireTime = start.Add(time.Hour)
	f.createKey(t, plain)
	f.createKey(t, full)

	for _, want := range []store.APIKey{plain, full} {
		got, err := f.store.Key(t.Context(), "acme", want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		got, err = f.store.KeyByID(t.Context(), want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := f.store.KeyByID(t.Context(), "000000000000000000000003")
	require.ErrorIs(t, err, store.ErrKeyNotFound)
}

func keyNeedsItsInstance(t *testing.T, f *fixture) {
	require.ErrorIs(t, f.tryKey(t.Context(), key("nobody", "000000000000000000000001")), store.ErrInstanceNotFound)
	_, err := f.store.KeyByID(t.Context(), "000000000000000000000001")
	require.ErrorIs(t, err, store.ErrKeyNotFound)
}

func keysStayInsideTheirInstance(t *testing.T, f *fixture) {
	f.createInstance(t, instance("acme"))
	f.createInstance(t, instance("other"))
	mine := key("acme", "000000000000000000000001")
	f.createKey(t, mine)

	_, err := f.store.Key(t.Context(), "other", mine.ID)
	require.ErrorIs(t, err, store.ErrKeyNotFound)
	require.ErrorIs(t, f.store.DeleteKey(t.Context(), "other", mine.ID), store.ErrKeyNotFound)
	page, err := f.store.Keys(t.Context(), "other", time.Time{}, "", 10)
	require.NoError(t, err)
	require.Empty(t, page)
	require.NoError(t, f.store.RecordUses(t.Context(), []store.KeyUse{{Instance: "other", ID: mine.ID, Time: start}}))

	got, err := f.store.Key(t.Context(), "acme", mine.ID)
	require.NoError(t, err)
	require.Equal(t, mine, got)

	require.NoError(t, f.store.DeleteKey(t.Context(), "acme", mine.ID))
	require.ErrorIs(t, f.store.DeleteKey(t.Context(), "acme", mine.ID), store.ErrKeyNotFound)
	_, err = f.store.KeyByID(t.Context(), mine.ID)
	require.ErrorIs(t, err, store.ErrKeyNotFound)
}

func keysAreListedOldestFirst(t *testing.T, f *fixture) {
	f.createInstance(t, instance("acme"))
	ages := map[string]time.Duration{
		"000000000000000000000004": 0, // the oldest has not the least id
		"00000000000000000000000a": time.Microsecond,
		"00000000000000000000000b": time.Microsecond, // one moment, so the id decides
		"000000000000000000000001": time.Second,
	}
	for id, age := range ages {
		k := key("acme", id)
		k.CreateTime = start.Add(age)
		f.createKey(t, k)
	}
	var got []string
	var after time.Time
	afterID := ""
	for {
		page, err := f.store.Keys(t.Context(), "acme", after, afterID, 1)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		require.Len(t, page, 1)
		got = append(got, page[0].ID)
		after, afterID = page[0].CreateTime, page[0].ID
	}
	require.Equal(t, []string{
		"000000000000000000000004", "00000000000000000000000a", "00000000000000000000000b", "000000000000000000000001",
	}, got)
}

func useOnlyMovesForward(t *testing.T, f *fixture) {
	f.createInstance(t, instance("acme"))
	k := key("acme", "000000000000000000000001")
	f.createKey(t, k)
	for _, step := range []struct{ use, want time.Duration }{{time.Minute, time.Minute}, {0, time.Minute}, {time.Hour, time.Hour}} {
		require.NoError(t, f.store.RecordUses(t.Context(), []store.KeyUse{
			{Instance: "acme", ID: "00000000000000000000000f", Time: start}, // gone
			{Instance: "acme", ID: k.ID, Time: start.Add(step.use)},
		}))
		got, err := f.store.Key(t.Context(), "acme", k.ID)
		require.NoError(t, err)
		require.Equal(t, start.Add(step.want), got.LastUseTime)
	}
}

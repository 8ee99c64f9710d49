package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

func secretIsKeptAsGiven(t *testing.T, f *fixture) {
	made, err := f.store.SetSecret(t.Context(), "acme", "erp", []byte{0, 1, 0xff}, 2, start)
	require.NoError(t, err)
	require.Equal(t, &store.Secret{Name: "erp", CreateTime: start, UpdateTime: start}, made)
	sealed, err := f.store.SealedSecret(t.Context(), "acme", "erp")
	require.NoError(t, err)
	require.Equal(t, []byte{0, 1, 0xff}, sealed)

	later := start.Add(time.Minute)
	changed, err := f.store.SetSecret(t.Context(), "acme", "erp", []byte("b"), 2, later)
	require.NoError(t, err)
	require.Equal(t, &store.Secret{Name: "erp", CreateTime: start, UpdateTime: later}, changed)
	sealed, err = f.store.SealedSecret(t.Context(), "acme", "erp")
	require.NoError(t, err)
	require.Equal(t, []byte("b"), sealed)
	found, err := f.store.ListSecrets(t.Context(), "acme", "", 10)
	require.NoError(t, err)
	require.Equal(t, []store.Secret{*changed}, found)
}

func secretsAreListedByName(t *testing.T, f *fixture) {
	for _, name := range []string{"b", "_", "a", "B", "a1"} {
		_, err := f.store.SetSecret(t.Context(), "acme", name, []byte(name), 10, start)
		require.NoError(t, err)
	}
	names := func(after string, limit int) (all []string) {
		found, err := f.store.ListSecrets(t.Context(), "acme", after, limit)
		require.NoError(t, err)
		for _, one := range found {
			all = append(all, one.Name)
		}
		return all
	}
	require.Equal(t, []string{"B", "_", "a", "a1", "b"}, names("", 10), "by their bytes")
	require.Equal(t, []string{"a", "a1"}, names("_", 2))
	require.Empty(t, names("b", 2))
}

func secretsStayInsideTheirInstance(t *testing.T, f *fixture) {
	_, err := f.store.SetSecret(t.Context(), "acme", "erp", []byte("a"), 1, start)
	require.NoError(t, err)
	_, err = f.store.SealedSecret(t.Context(), "other", "erp")
	require.ErrorIs(t, err, store.ErrNotFound)
	found, err := f.store.ListSecrets(t.Context(), "other", "", 10)
	require.NoError(t, err)
	require.Empty(t, found)
	require.ErrorIs(t, f.store.DeleteSecret(t.Context(), "other", "erp"), store.ErrNotFound)
	_, err = f.store.SetSecret(t.Context(), "other", "erp", []byte("b"), 1, start)
	require.NoError(t, err, "the limit is each instance's")
	require.NoError(t, f.store.DeleteSecret(t.Context(), "other", "erp"))
	sealed, err := f.store.SealedSecret(t.Context(), "acme", "erp")
	require.NoError(t, err)
	require.Equal(t, []byte("a"), sealed)
}

func secretsHaveALimit(t *testing.T, f *fixture) {
	for _, name := range []string{"a", "b"} {
		_, err := f.store.SetSecret(t.Context(), "acme", name, nonEmpty, 2, start)
		require.NoError(t, err)
	}
	_, err := f.store.SetSecret(t.Context(), "acme", "c", nonEmpty, 2, start)
	require.ErrorIs(t, err, store.ErrFull)
	_, err = f.store.SealedSecret(t.Context(), "acme", "c")
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = f.store.SetSecret(t.Context(), "acme", "b", nonEmpty, 2, start)
	require.NoError(t, err, "one that is there can be changed")

	require.NoError(t, f.store.DeleteSecret(t.Context(), "acme", "a"))
	require.ErrorIs(t, f.store.DeleteSecret(t.Context(), "acme", "a"), store.ErrNotFound)
	_, err = f.store.SetSecret(t.Context(), "acme", "c", nonEmpty, 2, start)
	require.NoError(t, err)
	_, err = f.store.SetSecret(t.Context(), "acme", "a", nonEmpty, 2, start)
	require.ErrorIs(t, err, store.ErrFull)
}

var nonEmpty = []byte("x")

// However many are made at once, there are never more than the limit, and each that was made is there.
func secretsAtOnceKeepTheLimit(t *testing.T, f *fixture) {
	const limit, tries = 5, 20
	made := make([]bool, tries)
	var all sync.WaitGroup
	for i := range tries {
		all.Go(func() {
			// Every name twice: the second changes what the first made.
			_, err := f.store.SetSecret(t.Context(), "acme", fmt.Sprintf("s%02d", i/2), nonEmpty, limit, start)
			made[i] = err == nil
		})
	}
	all.Wait()
	names := make(map[string]bool)
	for i, ok := range made {
		if ok {
			names[fmt.Sprintf("s%02d", i/2)] = true
		}
	}
	found, err := f.store.ListSecrets(t.Context(), "acme", "", tries)
	require.NoError(t, err)
	require.Len(t, found, limit)
	require.Len(t, names, limit)
	for _, one := range found {
		require.True(t, names[one.Name], one.Name)
	}
}

func versionsAreListedNewestFirst(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	f.createAgent(t, "acme", "a2")
	f.createAgent(t, "other", "a1")
	for i := range 3 {
		v := version(fmt.Sprint(i + 2))
		_, err := f.store.UpdateAgent(t.Context(), "acme", "a1", store.AgentChange{Publish: &v}, start.Add(time.Duration(i+1)*time.Minute))
		require.NoError(t, err)
	}
	all, err := f.store.ListVersions(t.Context(), "acme", "a1", 1<<62, 10)
	require.NoError(t, err)
	require.Equal(t, []store.Published{
		{Number: 4, CreateTime: start.Add(3 * time.Minute)}, {Number: 3, CreateTime: start.Add(2 * time.Minute)},
		{Number: 2, CreateTime: start.Add(time.Minute)}, {Number: 1, CreateTime: start},
	}, all)
	some, err := f.store.ListVersions(t.Context(), "acme", "a1", 4, 2)
	require.NoError(t, err)
	require.Equal(t, all[1:3], some)
	none, err := f.store.ListVersions(t.Context(), "acme", "a3", 1<<62, 10)
	require.NoError(t, err)
	require.Empty(t, none)
	other, err := f.store.ListVersions(t.Context(), "other", "a1", 1<<62, 10)
	require.NoError(t, err)
	require.Len(t, other, 1)

	found, created, err := f.store.Version(t.Context(), "acme", "a1", 3)
	require.NoError(t, err)
	require.Equal(t, start.Add(2*time.Minute), created)
	want := version("3")
	want.DisplayName, want.Description = "", ""
	require.Equal(t, want, found)
	_, _, err = f.store.Version(t.Context(), "acme", "a1", 5)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, _, err = f.store.Version(t.Context(), "other", "a1", 2)
	require.ErrorIs(t, err, store.ErrNotFound)
}

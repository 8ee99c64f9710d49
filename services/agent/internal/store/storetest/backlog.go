package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// theOldestThatWaitsIsKnown has turns of different times wait for contacts, and then for the index.
func theOldestThatWaitsIsKnown(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	record := func() time.Time {
		_, oldest, err := f.store.CountRecords(t.Context(), 100)
		require.NoError(t, err)
		return oldest
	}
	unindexed := func() time.Time {
		oldest, err := f.store.OldestUnindexed(t.Context())
		require.NoError(t, err)
		return oldest
	}
	require.Zero(t, record())
	require.Zero(t, unindexed())

	f.converse(t, "acme", "c1", 1)
	f.index(t)
	require.Zero(t, record())
	require.Zero(t, unindexed())

	f.converse(t, "acme", "c2", 2)
	f.converse(t, "acme", "c3", 1)
	first := start.Add(-time.Hour)
	for turn, made := range map[string]time.Time{"c1-1": first.Add(-time.Hour), "c2-1": first, "c2-2": first.Add(time.Minute)} {
		_, err := f.db.Exec1(t.Context(), `UPDATE turn SET create_time = $1 WHERE instance = 'acme' AND id = $2`, sqldb.Micros(made), turn)
		require.NoError(t, err)
	}
	require.Equal(t, first, record())
	f.handOver(t)
	require.Zero(t, record())
	require.Equal(t, first, unindexed())
	f.index(t)
	require.Zero(t, unindexed())
}

package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
)

func record(key string, fingerprint byte) *idempotency.Key {
	return &idempotency.Key{Scope: "create", Key: key, Fingerprint: [32]byte{fingerprint}}
}

func onceGivesTheFirstResponseAgain(t *testing.T, f *fixture) {
	runs := 0
	create := func(ctx context.Context, tx *store.Tx) ([]byte, error) {
		runs++
		return []byte("first"), tx.CreateInstance(ctx, instance("acme"))
	}
	response, replayed, err := f.store.Once(t.Context(), record("k", 1), create)
	require.NoError(t, err)
	require.False(t, replayed)
	require.Equal(t, "first", string(response))

	f.clock.Advance(24*time.Hour - time.Second)
	response, replayed, err = f.store.Once(t.Context(), record("k", 1), create)
	require.NoError(t, err)
	require.True(t, replayed)
	require.Equal(t, "first", string(response))
	require.Equal(t, 1, runs)

	_, _, err = f.store.Once(t.Context(), record("k", 2), create)
	require.ErrorIs(t, err, idempotency.ErrReused)
	require.Equal(t, 1, runs)
}

func failedCreateLeavesNothing(t *testing.T, f *fixture) {
	boom := errors.New("boom")
	_, _, err := f.store.Once(t.Context(), record("k", 1), func(ctx context.Context, tx *store.Tx) ([]byte, error) {
		require.NoError(t, tx.CreateInstance(ctx, instance("acme")))
		return nil, boom
	})
	require.ErrorIs(t, err, boom)
	_, err = f.store.Instance(t.Context(), "acme")
	require.ErrorIs(t, err, store.ErrInstanceNotFound)

	// The key is free again, for another request too.
	_, replayed, err := f.store.Once(t.Context(), record("k", 2), func(ctx context.Context, tx *store.Tx) ([]byte, error) {
		return []byte("second"), tx.CreateInstance(ctx, instance("acme"))
	})
	require.NoError(t, err)
	require.False(t, replayed)
}

func sweepTakesExpiredRecordsOnly(t *testing.T, f *fixture) {
	put := func(key string) (replayed bool) {
		_, replayed, err := f.store.Once(t.Context(), record(key, 1), func(context.Context, *store.Tx) ([]byte, error) {
			return []byte("x"), nil
		})
		require.NoError(t, err)
		return replayed
	}
	require.False(t, put("old"))
	f.clock.Advance(23 * time.Hour)
	require.False(t, put("young"))
	f.clock.Advance(2 * time.Hour)
	deleted, err := idempotency.Sweep(t.Context(), f.db, f.clock)
	require.NoError(t, err)
	require.EqualValues(t, 1, deleted)

	var left int
	require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), `SELECT count(*) FROM idempotency WHERE instance = $1`, "").Scan(&left))
	require.Equal(t, 1, left)
	require.True(t, put("young"))
}

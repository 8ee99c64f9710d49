package sqldb_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Connections look at their pages without waiting for each other.
func TestPageCachesStandAlone(t *testing.T) {
	openSQLite(t) // SQLite has begun
	one, other := sqldb.CacheGroups()
	require.NotEqual(t, one, other)
}

// Rows that come in no order make SQLite swap pages. No commit is to look through the whole page cache because of it.
func TestSwappedPagesLeaveTheCacheOrderly(t *testing.T) {
	db := openSQLite(t)
	swaps, greatest := 0, uint32(0)
	sqldb.OnRekey(t, func(before, to uint32) {
		greatest = max(greatest, before)
		if to == sqldb.LockPage {
			swaps++
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		require.NoError(t, db.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
			for range 20 {
				if _, err := tx.ExecContext(ctx, fill, fmt.Sprint(random.Uint64()), 300); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.Greater(t, swaps, 10)
	require.Less(t, greatest, uint32(1000), "the file has that many pages at most")

	var sound string
	require.NoError(t, db.Reader().QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&sound))
	require.Equal(t, "ok", sound)
}

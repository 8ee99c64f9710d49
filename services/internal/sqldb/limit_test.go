package sqldb

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"

func TestQueryOfAReaderIsBrokenOff(t *testing.T) {
	pool, err := openPool(filepath.Join(t.TempDir(), "limit.db"), 1, 20*time.Millisecond, readerPragmas())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	ctx := context.Background()

	var n int64
	err = pool.QueryRowContext(ctx, "SELECT max(i) FROM ("+endless+")").Scan(&n)
	require.ErrorIs(t, err, ErrUnavailable, "before its first row")
	require.ErrorIs(t, err, errStatementTimeout)

	rows, err := pool.QueryContext(ctx, endless)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		require.NoError(t, rows.Scan(&n))
	}
	require.ErrorIs(t, rows.Err(), ErrUnavailable, "between two rows")

	left, leave := context.WithCancel(ctx)
	leave()
	err = pool.QueryRowContext(left, "SELECT 1").Scan(&n)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrUnavailable, "the caller's own end")
	require.NoError(t, pool.QueryRowContext(ctx, "SELECT 1").Scan(&n), "the connection goes on")
}

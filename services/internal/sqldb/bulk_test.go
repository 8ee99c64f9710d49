package sqldb_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func TestBulkSplit(t *testing.T) {
	b := sqldb.NewBulk("INSERT ", []string{"$1", "?", "CAST(? AS BIGINT)"}, " END")
	require.Equal(t, "INSERT ($1, $2, CAST($3 AS BIGINT)), ($1, $4, CAST($5 AS BIGINT)) END", b[len(b)-2])
	require.Equal(t, "INSERT ($1, $2, CAST($3 AS BIGINT)) END", b[len(b)-1])
	for _, n := range []int{0, 1, 3, 4, 5, 63, 64, 65, 500} {
		var parts []string
		next := 0
		require.NoError(t, b.Split(n, func(query string, from, to int) error {
			require.Equal(t, next, from)
			require.Equal(t, to-from, strings.Count(query, "($1,"))
			next = to
			parts = append(parts, fmt.Sprint(to-from))
			return nil
		}))
		require.Equal(t, n, next)
		require.LessOrEqual(t, len(parts), n/64+6)
	}
}

func TestSQLiteBulk(t *testing.T) {
	b := sqldb.NewSQLiteBulk("INSERT ", []string{"?", "'x'", "?"}, "")
	require.Equal(t, "INSERT (?, 'x', ?), (?, 'x', ?)", b[len(b)-2])
	require.Equal(t, "INSERT (?, 'x', ?)", b[len(b)-1])
}

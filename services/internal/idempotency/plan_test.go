package idempotency

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// What runs with a message must not grow with what is stored.
func TestRecallNeverScans(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, os.DirFS("testdata/migrations"), "idempotencytest"))
	var id, parent, unused int
	var detail string
	require.NoError(t, db.Reader().QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+recall, 1, 1, 1, 1).
		Scan(&id, &parent, &unused, &detail))
	require.Contains(t, detail, "USING PRIMARY KEY")
}

package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// TestMigrationsAreFit checks those of every store: paired, and such that the release before goes on working.
func TestMigrationsAreFit(t *testing.T) {
	require.Len(t, migrations, 4)
	for role, files := range migrations {
		require.NoError(t, sqldb.CheckMigrations(files), role)
	}
}

package store

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestMigrationsArePaired(t *testing.T) {
	require.NoError(t, sqldb.CheckMigrations(Migrations()))
}

// The two schemas are the same text apart from the names of types and what only one engine has.
func TestSchemasAreEqual(t *testing.T) {
	read := func(name string, replacements ...string) string {
		text, err := fs.ReadFile(Migrations(), name)
		require.NoError(t, err)
		return strings.NewReplacer(replacements...).Replace(string(text))
	}
	require.Equal(t,
		read("sqlite/00001_agent.sql", " WITHOUT ROWID", ""),
		read("postgres/00001_agent.sql", ` COLLATE "C"`, "", "BYTEA", "BLOB"))
}

// A turn begins with three look-ups by keys; a scan of any table would make every turn slower with every conversation there ever was.
func TestPositionIsThreeLookUps(t *testing.T) {
	db := openSQLite(t)
	require.Equal(t, []string{
		"SEARCH a USING INDEX sqlite_autoindex_agent_1 (instance=? AND id=?)",
		"SEARCH t USING INDEX sqlite_autoindex_turn_1 (instance=? AND id=?) LEFT-JOIN",
		"SEARCH c USING INDEX conversation_open (instance=? AND agent_id=? AND endpoint_id=? AND identifier=?) LEFT-JOIN",
	}, queryPlan(t, db, findPosition, "i", "a", "t", "e", "p"))
}

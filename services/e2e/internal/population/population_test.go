package population_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/contacts"
	"github.com/prosa-chat/prosa/services/e2e/internal/population"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// The rows fit together, and are the same again.
func TestFill(t *testing.T) {
	specs := []population.Spec{
		{Instance: "acme", Seed: 1, Attendances: 2000, Items: 20}, {Instance: "other", Seed: 2, Attendances: 300, Items: 4},
	}
	var first population.Filled
	testkit.EachEngineOptions(t, contacts.Migrations(), "contacts", func(t *testing.T, options sqldb.Options) {
		db, err := sqldb.Open(t.Context(), options)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		var filled population.Filled
		if options.DatabaseURL != "" {
			filled, err = population.FillPostgres(t.Context(), options.DatabaseURL, specs...)
		} else {
			filled, err = population.FillSQLite(t.Context(), filepath.Join(options.DataDir, "contacts.db"), specs...)
		}
		require.NoError(t, err)
		if first == (population.Filled{}) {
			first = filled
		}
		require.Equal(t, first, filled)
		require.Equal(t, int64(2300), filled.Attendances)
		require.InDelta(t, 41_000, filled.Items, 5000, "about as many items as asked for")

		db = testkit.Open(t, options)
		for what, test := range map[string]struct {
			want  int64
			query string
		}{
			"attendances": {2300, `SELECT sum(live) FROM counter WHERE name = 'attendance'`},
			"attendances stored": {2300, `SELECT count(*) FROM attendance AS a
				JOIN progress AS p ON p.attendance_id = a.id AND p.instance = a.instance`},
			"people": {filled.Contacts, `SELECT count(DISTINCT a.contact_id || a.instance) FROM attendance AS a
				JOIN contact AS c ON c.id = a.contact_id AND c.instance = a.instance`},
			"attributes":   {filled.Attributes, `SELECT count(*) FROM contact_attribute`},
			"turns":        {filled.Turns, `SELECT count(*) FROM turn`},
			"bytes":        {0, `SELECT (SELECT sum(length(items)) FROM turn) - (SELECT sum(history_bytes) FROM progress)`},
			"interactions": {filled.Items / 2, `SELECT sum(interactions) FROM progress`},
			"events": {filled.Events, `SELECT count(*) FROM event AS e
				JOIN attendance AS a ON a.id = e.attendance_id AND a.instance = e.instance`},
			"older between": {1, `SELECT count(*) FROM attendance AS a JOIN attendance AS b ON a.instance = b.instance
				WHERE a.instance = 'acme' AND a.id = 1250 AND b.id = 700 AND a.create_time < b.create_time`},
		} {
			var got int64
			require.NoError(t, db.Reader().QueryRowContext(t.Context(), test.query).Scan(&got), what)
			require.Equal(t, test.want, got, what)
		}
		if db.Dialect() == sqldb.SQLite {
			var linked int64
			require.NoError(t, db.Reader().QueryRowContext(t.Context(), `
				WITH RECURSIVE said (seq, attendance_id) AS (
					SELECT last_turn, attendance_id FROM progress
					UNION ALL SELECT t.previous, t.attendance_id FROM said JOIN turn t ON t.seq = said.seq AND t.attendance_id = said.attendance_id
				) SELECT count(seq) FROM said`).Scan(&linked))
			require.Equal(t, filled.Turns, linked, "each turn is found from its attendance")
		}
	})
}

func TestPeopleAreUnique(t *testing.T) {
	cpfs, identifiers := map[string]bool{}, map[string]bool{}
	for person := range 100_000 {
		cpfs[population.CPF(person)] = true
		identifiers[population.Identifier(person)] = true
		require.Len(t, population.CPF(person), 11)
		require.Len(t, population.Phone(person), 13)
	}
	require.Len(t, cpfs, 100_000)
	require.Len(t, identifiers, 100_000)
	require.Equal(t, population.Phone(50), population.Phone(52))
}

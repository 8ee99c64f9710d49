package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store/migrations"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// TestListsAndRedeliveriesReadWhatTheyNeed pins SQLite's plans: a page reads the
// rows that it shows, from an index that has them in order, and the worker reads
// what is due.
func TestListsAndRedeliveriesReadWhatTheyNeed(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, migrations.FS, "channel"))
	again := newRequeues(sqliteDialect{})
	const (
		values = "MATERIALIZE v\nSCAN CONSTANT ROW\nSCAN v\n"
		lane   = "(instance=? AND endpoint_id=? AND interaction_id=?)"
		// due is how the next time of a pending delivery is found.
		due = "\nCORRELATED SCALAR SUBQUERY 1\nSEARCH l USING PRIMARY KEY " + lane +
			"\nCORRELATED SCALAR SUBQUERY 3\nSEARCH l USING PRIMARY KEY " + lane +
			"\nCORRELATED SCALAR SUBQUERY 2\nSEARCH r USING PRIMARY KEY " + lane
	)
	const walk = "SETUP\nSEARCH l USING PRIMARY KEY " + lane + "\nSEARCH d USING INTEGER PRIMARY KEY (rowid=?)\n" +
		"RECURSIVE STEP\nSCAN chain\nSEARCH d USING INTEGER PRIMARY KEY (rowid=?)"
	lanes := sqliteDialect{}.lane()
	for name, statement := range map[string]struct {
		sql  string
		args int
		want string
	}{
		"get":              {getDeliverySQL, 2, "SEARCH delivery USING INDEX delivery_by_id (instance=? AND id=?)" + due},
		"list":             {listDeliveriesSQL, 4, "SEARCH delivery USING INDEX delivery_by_id (instance=? AND id>? AND id<?)" + due},
		"list dead":        {listDeadSQL, 4, "SEARCH delivery USING INDEX delivery_dead_by_id (instance=? AND id>? AND id<?)" + due},
		"list dead of one": {listEndpointsDeadSQL, 5, "SEARCH delivery USING INDEX delivery_dead (instance=? AND endpoint_id=? AND id>? AND id<?)" + due},
		"list one lane": {lanes.list, 7, "CO-ROUTINE chain\nSETUP\nSEARCH l USING PRIMARY KEY " + lane + "\nSEARCH d USING INTEGER PRIMARY KEY (rowid=?)\n" +
			"SCALAR SUBQUERY 1\nSEARCH f USING COVERING INDEX delivery_by_id (instance=? AND id=?)\n" +
			"RECURSIVE STEP\nSCAN chain\nSEARCH d USING INTEGER PRIMARY KEY (rowid=?)\nSCAN chain\nSEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)" +
			strings.NewReplacer("SUBQUERY 1", "SUBQUERY 4", "SUBQUERY 3", "SUBQUERY 6", "SUBQUERY 2", "SUBQUERY 5").Replace(due)},
		"replay dead": {replayDeadSQL, 5, "SEARCH delivery USING INDEX delivery_dead (instance=? AND endpoint_id=? AND id>? AND id<?)"},
		"replay":      {replaySQL, 4, "SEARCH delivery USING INDEX delivery_by_id (instance=? AND id>? AND id<?)"},
		"next redelivery": {nextRedeliverySQL, 3, "SEARCH delivery USING INDEX delivery_pending (instance=? AND endpoint_id=? AND interaction_id=? AND sequence=?)\n" +
			"SCALAR SUBQUERY 1\nSEARCH redelivery USING PRIMARY KEY " + lane},
		"claim redeliveries": {sqliteDialect{}.claimRedeliveries(), 5, "SEARCH redelivery_lane USING PRIMARY KEY " + lane + "\nLIST SUBQUERY 2\n" +
			"SEARCH redelivery_lane USING INDEX redelivery_lane_pending (endpoint_id=? AND next_time<?)"},
		"settle redelivery": {settleRedeliveryLaneSQL, 5, "SEARCH redelivery_lane USING PRIMARY KEY " + lane + "\nSCALAR SUBQUERY 1\nSEARCH r USING PRIMARY KEY (instance=? AND endpoint_id=? AND interaction_id=? AND sequence=?)"},
		"end redelivery":    {deleteRedeliverySQL, 4, "SEARCH redelivery USING PRIMARY KEY (instance=? AND endpoint_id=? AND interaction_id=? AND sequence=?)"},
		"retry redelivery":  {retryRedeliveryLaneSQL, 5, "SEARCH redelivery_lane USING PRIMARY KEY " + lane},
		"revive":            {again.revive[6], 3, values + "SEARCH delivery USING INDEX delivery_by_id (instance=? AND id=?)"},
		"read one lane":     {lanes.read, 5, "CO-ROUTINE chain\n" + walk + "\nSCAN chain\nSEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)\nUSE TEMP B-TREE FOR ORDER BY"},
		"first of lane": {lanes.first, 3, "SCAN CONSTANT ROW\nSCALAR SUBQUERY 3\nCO-ROUTINE chain\n" + walk + "\nSEARCH chain\nSCALAR SUBQUERY 4\nSEARCH lane USING PRIMARY KEY " + lane +
			"\nSCALAR SUBQUERY 5\nSEARCH delivery USING COVERING INDEX delivery_pending " + lane},
		"count lane":    {lanes.count, 3, "CO-ROUTINE chain\n" + walk + "\nSCAN chain"},
		"erase lane":    {lanes.erase, 3, "SEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)\nLIST SUBQUERY 3\nMATERIALIZE chain\n" + walk + "\nSCAN chain"},
		"erase settled": {lanes.eraseSettled, 5, "SEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)\nLIST SUBQUERY 3\nMATERIALIZE chain\n" + walk + "\nSCAN chain"},
		"old":           {sqliteOldSQL, 3, "SEARCH d USING INDEX delivery_by_id (instance=? AND id=?)\nCORRELATED SCALAR SUBQUERY 1\nSEARCH p USING INTEGER PRIMARY KEY (rowid=?)"},
		"retire":        {sqliteRetireSQL, 2, "SEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)"},
		"relink":        {sqliteRelinkSQL, 5, "SEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)\nLIST SUBQUERY 3\nMATERIALIZE chain\n" + walk + "\nSCAN chain"},
		"resume":        {again.resume[6], 5, values + "SEARCH lane USING PRIMARY KEY " + lane},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, statement.want, plan(t, db, statement.sql, statement.args))
			require.NotContains(t, statement.sql, "LIMIT $", "a bare limit is planned anew on each call")
		})
	}

	t.Run("ready redeliveries", func(t *testing.T) {
		whole := plan(t, db, readyRedeliveriesSQL, 1)
		require.Equal(t, 3, strings.Count(whole, "USING INDEX redelivery_lane_pending"), whole)
		require.NotContains(t, whole, "TEMP B-TREE")
	})
	t.Run("endpoints of an interaction", func(t *testing.T) {
		whole := plan(t, db, interactionEndpointsSQL, 3)
		require.Contains(t, whole, "SEARCH lane USING PRIMARY KEY (instance=? AND endpoint_id>?)")
		require.Contains(t, whole, "SEARCH l USING PRIMARY KEY (instance=? AND endpoint_id>?)")
		require.Contains(t, whole, "SEARCH l EXISTS USING PRIMARY KEY "+lane)
		require.NotContains(t, whole, "TEMP B-TREE")
	})
}

// plan is how SQLite would run a statement, a line a step.
func plan(t *testing.T, db *sqldb.DB, query string, args int) string {
	t.Helper()
	values := make([]any, args)
	for i := range values {
		values[i] = 1
	}
	rows, err := db.Reader().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, values...)
	require.NoError(t, err)
	var id, parent, unused int
	lines, err := collect(rows, err, func(line *string) []any { return []any{&id, &parent, &unused, line} })
	require.NoError(t, err)
	return strings.Join(lines, "\n")
}

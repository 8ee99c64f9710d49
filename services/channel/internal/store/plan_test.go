package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel/internal/store/migrations"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// TestHotStatementsNeverScan looks at SQLite's plans: what runs for every
// message, or several times a second, must not grow with what is stored.
func TestHotStatementsNeverScan(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, migrations.FS, "channel"))
	heads, queues := newHeads(sqliteDialect{}), newQueues(db)
	for name, statement := range map[string]struct {
		sql   string
		args  int
		wants []string
	}{
		"read threads":    {queues.threads.read[0], 3 * 64, []string{"SEARCH thread USING PRIMARY KEY (instance=? AND channel_id=? AND client_identifier=?)"}},
		"read thread":     {queues.threads.read[6], 3, []string{"SEARCH thread USING PRIMARY KEY (instance=? AND channel_id=? AND client_identifier=?)"}},
		"read lanes":      {queues.lanes.read[0], 3 * 64, []string{"SEARCH lane USING PRIMARY KEY (instance=? AND endpoint_id=? AND interaction_id=?)"}},
		"read lane":       {queues.lanes.read[6], 3, []string{"SEARCH lane USING PRIMARY KEY (instance=? AND endpoint_id=? AND interaction_id=?)"}},
		"alive":           {aliveSQL, 2, []string{"SEARCH channel USING PRIMARY KEY", "SEARCH bot_api USING PRIMARY KEY"}},
		"settle many":     {sqliteSettleDeliveries[0], 6 * 64, []string{"SEARCH delivery USING COVERING INDEX delivery_by_id (instance=? AND id=?)"}},
		"ready instances": {readyInstancesSQL, 1, []string{"thread_pending"}},
		"claim threads":   {sqliteDialect{}.claimThreads(), 4, []string{"thread_pending", "USING PRIMARY KEY"}},
		"finish":          {finishThreadSQL, 5, []string{"USING PRIMARY KEY"}},
		"ready endpoints": {readyEndpointsSQL, 1, []string{"lane_pending", "channel_by_id", "bot_api_by_id"}},
		"make due":        {dueSQL, 4, []string{"lane_pending", "USING PRIMARY KEY"}},
		"unpark":          {unparkSQL, 4, []string{"lane_pending", "USING PRIMARY KEY"}},
		"claim lanes":     {sqliteDialect{}.claimLanes(), 5, []string{"lane_pending", "USING PRIMARY KEY"}},
		"make lanes due":  {dueSQL, 4, []string{"lane_pending", "USING PRIMARY KEY"}},
		"settle delivery": {settleDeliverySQL, 6, []string{"USING INDEX delivery_by_id (instance=? AND id=?)"}},
		"first messages":  {heads.messages[0], 4 * 64, []string{"SEARCH message USING INDEX sqlite_autoindex_message_1 (instance=? AND channel_id=? AND client_identifier=? AND seq>? AND seq<?)"}},
		"first delivery":  {heads.deliveries[6], 4, []string{"SEARCH delivery USING INDEX delivery_pending (instance=? AND endpoint_id=? AND interaction_id=? AND sequence>? AND sequence<?)"}},
		"messages":        {messagesSQL, 5, []string{"USING INDEX sqlite_autoindex_message_1"}},
		"outcome":         {outcomeSQL, 4, []string{"USING INDEX sqlite_autoindex_message_1", "SEARCH thread USING PRIMARY KEY"}},
		"deliveries":      {pendingDeliveriesSQL, 5, []string{"USING INDEX delivery_pending"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := make([]any, statement.args)
			for i := range args {
				args[i] = 1
			}
			rows, err := db.Reader().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement.sql, args...)
			require.NoError(t, err)
			defer rows.Close()
			var plan []string
			for rows.Next() {
				var id, parent, unused int
				var detail string
				require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
				plan = append(plan, detail)
			}
			require.NoError(t, rows.Err())
			whole := strings.Join(plan, "\n")
			for _, want := range statement.wants {
				require.Contains(t, whole, want)
			}
			for _, line := range plan {
				// The recursion's own table of endpoints, and the list of values, are what is left to scan.
				if strings.HasPrefix(line, "SCAN") && !strings.HasPrefix(line, "SCAN pending") && line != "SCAN CONSTANT ROW" && line != "SCAN v" &&
					!strings.HasSuffix(line, "VALUES CLAUSE") && !strings.HasSuffix(line, "CONSTANT ROWS") {
					require.Contains(t, line, "_pending", whole)
				}
			}
			require.NotContains(t, whole, "TEMP B-TREE", "nothing is sorted")
			require.NotContains(t, statement.sql, "LIMIT $", "a bare limit is planned anew on each call")
		})
	}
}

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
	heads := newHeads(sqliteDialect{})
	for name, statement := range map[string]struct {
		sql   string
		args  int
		wants []string
	}{
		"accept many":     {sqliteAcceptThreads[0], 6 * 64, []string{"SEARCH channel USING PRIMARY KEY"}},
		"accept":          {sqliteAcceptThreads[6], 6, []string{"SEARCH channel USING PRIMARY KEY"}},
		"finish many":     {sqliteFinishThreads[0], 5 * 64, []string{"SEARCH thread USING PRIMARY KEY (instance=? AND channel_id=? AND client_identifier=?)"}},
		"finish one":      {sqliteFinishThreads[6], 5, []string{"SEARCH thread USING PRIMARY KEY (instance=? AND channel_id=? AND client_identifier=?)"}},
		"extend lanes":    {sqliteExtendLanes[0], 7 * 64, []string{"SEARCH channel USING PRIMARY KEY"}},
		"settle lanes":    {sqliteSettleLanes[0], 5 * 64, []string{"SEARCH lane USING PRIMARY KEY (instance=? AND endpoint_id=? AND interaction_id=?)"}},
		"settle one lane": {sqliteSettleLanes[6], 5, []string{"SEARCH lane USING PRIMARY KEY (instance=? AND endpoint_id=? AND interaction_id=?)"}},
		"settle many":     {sqliteSettleDeliveries[0], 8 * 64, []string{"SEARCH delivery USING COVERING INDEX sqlite_autoindex_delivery_1 (instance=? AND endpoint_id=? AND interaction_id=? AND sequence=?)"}},
		"threads due":     {threadsDueSQL, 1, []string{"thread_pending"}},
		"claim threads":   {sqliteDialect{}.claimThreads(), 3, []string{"thread_pending", "USING PRIMARY KEY"}},
		"finish":          {finishThreadSQL, 5, []string{"USING PRIMARY KEY"}},
		"ready endpoints": {readyEndpointsSQL, 1, []string{"lane_pending", "channel_by_id"}},
		"claim lanes":     {sqliteDialect{}.claimLanes(), 5, []string{"lane_pending", "USING PRIMARY KEY"}},
		"settle delivery": {settleDeliverySQL, 8, []string{"USING INDEX sqlite_autoindex_delivery_1"}},
		"first messages":  {heads.messages[0], 4 * 64, []string{"SEARCH message USING INDEX sqlite_autoindex_message_1 (instance=? AND channel_id=? AND client_identifier=? AND seq>? AND seq<?)"}},
		"first delivery":  {heads.deliveries[6], 4, []string{"SEARCH delivery USING INDEX sqlite_autoindex_delivery_1 (instance=? AND endpoint_id=? AND interaction_id=? AND sequence>? AND sequence<?)"}},
		"messages":        {messagesSQL, 5, []string{"USING INDEX sqlite_autoindex_message_1"}},
		"deliveries":      {deliveriesSQL, 5, []string{"USING INDEX sqlite_autoindex_delivery_1"}},
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

package store

import "github.com/prosa-chat/prosa/services/internal/sqldb"

// PostgreSQL chooses the index by its statistics.
var postgresDialect = dialect{
	using: func(string) string { return "" },
	texts: func(parameter string) string {
		return "SELECT jsonb_array_elements_text(CAST(" + parameter + " AS jsonb))"
	},
	numbers: func(parameter string) string {
		return "SELECT CAST(jsonb_array_elements_text(CAST(" + parameter + " AS jsonb)) AS bigint)"
	},
	// The rows are locked in the order of their numbers first: an update alone locks them in any order, and two of them would wait
	// for each other.
	raise: sqldb.NewBulk(`
		WITH raised (id, spoken, finish) AS (VALUES `,
		[]string{"CAST(? AS bigint)", "CAST(? AS bigint)", "CAST(? AS bigint)"}, `),
		locked AS MATERIALIZED (
			SELECT id FROM attendance WHERE instance = $1 AND id IN (SELECT id FROM raised) ORDER BY id FOR UPDATE
		)
		UPDATE attendance SET
			interactions = attendance.interactions + raised.spoken,
			finish_time  = COALESCE(attendance.finish_time, raised.finish)
		FROM raised JOIN locked ON locked.id = raised.id
		WHERE attendance.instance = $1 AND attendance.id = raised.id
		RETURNING attendance.id, attendance.contact_id, attendance.assistant_id`),
}

package store

import "github.com/prosa-chat/prosa/services/internal/sqldb"

// SQLite has no statistics to choose between the indexes of two filters, so it is told.
var sqliteDialect = dialect{
	using:   func(index string) string { return " INDEXED BY " + index },
	texts:   func(parameter string) string { return "SELECT value FROM json_each(" + parameter + ")" },
	numbers: func(parameter string) string { return "SELECT value FROM json_each(" + parameter + ")" },
	// The plus keeps SQLite from reading every attendance of the instance to look it up in the list, in place of the other way round.
	raise: sqldb.NewBulk(`
		UPDATE attendance SET
			interactions = attendance.interactions + raised.column2,
			finish_time  = COALESCE(attendance.finish_time, raised.column3)
		FROM (VALUES `,
		[]string{"?", "?", "?"}, `) AS raised
		WHERE attendance.instance = $1 AND attendance.id = +raised.column1
		RETURNING id, contact_id, assistant_id`),
}

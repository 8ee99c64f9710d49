package store

// SQLite has no statistics to choose between the indexes of two filters, so it is told.
var sqliteDialect = dialect{
	using:   func(index string) string { return " INDEXED BY " + index },
	among:   sqliteAmong,
	texts:   func(parameter string) string { return sqliteAmong("SELECT value FROM json_each(" + parameter + ")") },
	numbers: func(parameter string) string { return sqliteAmong("SELECT value FROM json_each(" + parameter + ")") },
	// From the last turn of each on to the one before it. CROSS JOIN keeps what is known the outer loop.
	history: `
		WITH RECURSIVE said (attendance_id, previous, items) AS (
			SELECT t.attendance_id, t.previous, t.items
			FROM json_each($2) AS n CROSS JOIN progress AS p CROSS JOIN turn AS t
			WHERE p.instance = $1 AND p.attendance_id = n.value
				AND t.seq = p.last_turn AND t.instance = p.instance AND t.attendance_id = p.attendance_id
			UNION ALL
			SELECT t.attendance_id, t.previous, t.items FROM said CROSS JOIN turn AS t
			WHERE t.seq = said.previous AND t.instance = $1 AND t.attendance_id = said.attendance_id
		)
		SELECT attendance_id, items FROM said`,
	recordTurns: recordTurnsSQLite,
}

func sqliteAmong(query string) string { return " IN (" + query + ")" }

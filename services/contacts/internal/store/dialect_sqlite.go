package store

// SQLite has no statistics to choose between the indexes of two filters, so it is told.
var sqliteDialect = dialect{
	using: func(index string) string { return " INDEXED BY " + index },
	run: func(column, number, value, low, high string) string {
		return " AND " + column + " = " + value + " AND " + number + " >= " + low + " AND " + number + " <= " + high
	},
	runOrder: func(_, number, direction string) string { return number + direction },
	passing:  func(column string) string { return column },
	one: func(table, alias, condition string) (from, where string) {
		return " CROSS JOIN " + table + " AS " + alias, " AND " + condition
	},
	picked: func(table, alias, primary, list string) (from, where string) {
		return table + " AS " + alias + " INDEXED BY " + primary,
			alias + ".instance = $1 AND " + alias + ".id" + sqliteAmong("SELECT value FROM json_each("+list+")")
	},
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
	deleteTurns: `
		WITH RECURSIVE said (seq, attendance_id, previous) AS (
			SELECT t.seq, t.attendance_id, t.previous
			FROM json_each($2) AS n CROSS JOIN progress AS p CROSS JOIN turn AS t
			WHERE p.instance = $1 AND p.attendance_id = n.value
				AND t.seq = p.last_turn AND t.instance = p.instance AND t.attendance_id = p.attendance_id
			UNION ALL
			SELECT t.seq, t.attendance_id, t.previous FROM said CROSS JOIN turn AS t
			WHERE t.seq = said.previous AND t.instance = $1 AND t.attendance_id = said.attendance_id
		)
		DELETE FROM turn WHERE seq IN (SELECT seq FROM said)`,
	recordTurns: recordTurnsSQLite,
}

func sqliteAmong(query string) string { return " IN (" + query + ")" }

package store

// PostgreSQL chooses the index by its statistics. Where they may lead it to one that reads more than a page, the query is written so that
// only one index has the order: it takes "column = value ORDER BY number" for "ORDER BY number", which the primary key has as well.
var postgresDialect = dialect{
	using: func(string) string { return "" },
	run: func(column, number, value, low, high string) string {
		of := " AND (" + column + ", " + number + ") "
		// The planner does not see by itself that there is a value, which is what a partial index may ask for.
		return " AND " + column + " IS NOT NULL" + of + ">= (" + value + ", " + low + ")" + of + "<= (" + value + ", " + high + ")"
	},
	runOrder: func(column, number, direction string) string { return column + direction + ", " + number + direction },
	passing:  func(column string) string { return "(" + column + " + 0)" },
	one:      postgresOne,
	picked: func(table, alias, _, list string) (from, where string) {
		from, _ = postgresOne(table, alias, alias+".instance = $1 AND "+alias+".id = picked.number")
		return "(SELECT CAST(jsonb_array_elements_text(CAST(" + list + " AS jsonb)) AS bigint) AS number) AS picked" + from, "true"
	},
	among: postgresAmong,
	texts: func(parameter string) string {
		return postgresAmong("SELECT jsonb_array_elements_text(CAST(" + parameter + " AS jsonb))")
	},
	numbers: postgresNumbers,
	history: `
		SELECT attendance_id, items FROM turn
		WHERE instance = $1 AND attendance_id` + postgresNumbers("$2") + ` ORDER BY attendance_id, seq DESC`,
	deleteTurns: `DELETE FROM turn WHERE instance = $1 AND attendance_id` + postgresNumbers("$2"),
	lockProgress: `
		SELECT attendance_id FROM progress WHERE instance = $1 AND attendance_id` + postgresNumbers("$2") + `
		ORDER BY attendance_id FOR UPDATE`,
	recordTurns: recordTurnsPostgres,
}

// postgresOne has a LIMIT because it keeps the planner from reading the other table as a whole, however few rows it takes it to have.
func postgresOne(table, alias, condition string) (from, where string) {
	return " CROSS JOIN LATERAL (SELECT * FROM " + table + " AS " + alias + " WHERE " + condition + " LIMIT 1) AS " + alias, ""
}

// postgresAmong makes an array of the result, which is looked up in an index whatever the statistics are. Of a query after IN,
// PostgreSQL may take it that the table is the smaller one, and read the whole instance.
func postgresAmong(query string) string { return " = ANY (ARRAY(" + query + "))" }

func postgresNumbers(parameter string) string {
	return postgresAmong("SELECT CAST(jsonb_array_elements_text(CAST(" + parameter + " AS jsonb)) AS bigint)")
}

package store

// PostgreSQL chooses the index by its statistics.
var postgresDialect = dialect{
	using: func(string) string { return "" },
	among: postgresAmong,
	texts: func(parameter string) string {
		return postgresAmong("SELECT jsonb_array_elements_text(CAST(" + parameter + " AS jsonb))")
	},
	numbers: postgresNumbers,
	history: `
		SELECT attendance_id, items FROM turn
		WHERE instance = $1 AND attendance_id` + postgresNumbers("$2") + ` ORDER BY attendance_id, seq DESC`,
	recordTurns: recordTurnsPostgres,
}

// postgresAmong makes an array of the result, which is looked up in an index whatever the statistics are. Of a query after IN,
// PostgreSQL may take it that the table is the smaller one, and read the whole instance.
func postgresAmong(query string) string { return " = ANY (ARRAY(" + query + "))" }

func postgresNumbers(parameter string) string {
	return postgresAmong("SELECT CAST(jsonb_array_elements_text(CAST(" + parameter + " AS jsonb)) AS bigint)")
}

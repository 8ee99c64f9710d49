package store

// PostgreSQL chooses the index by its statistics.
var postgresDialect = dialect{
	using: func(string) string { return "" },
	texts: func(parameter string) string {
		return "SELECT jsonb_array_elements_text(CAST(" + parameter + " AS jsonb))"
	},
	numbers: postgresNumbers,
	history: `
		SELECT attendance_id, items FROM turn
		WHERE instance = $1 AND attendance_id IN (` + postgresNumbers("$2") + `) ORDER BY attendance_id, seq DESC`,
	recordTurns: recordTurnsPostgres,
}

func postgresNumbers(parameter string) string {
	return "SELECT CAST(jsonb_array_elements_text(CAST(" + parameter + " AS jsonb)) AS bigint)"
}

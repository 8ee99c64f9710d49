package store

var sqliteDialect = dialect{
	newCommit: newTurnBatch,
	deleteRecords: `
DELETE FROM pending_record
WHERE instance = $1
  AND (conversation_id, turn_number) IN (SELECT json_extract(value, '$.c'), json_extract(value, '$.n') FROM json_each($2))
  AND ` + holdsLease,
}

package store

import (
	"context"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var sqliteDialect = dialect{
	newCommit:     newTurnBatch,
	readTurns:     `SELECT id, answer, record FROM turn WHERE instance = $1 AND id` + sqliteList,
	readEnds:      readEndsOf + sqliteList,
	finishSilent:  finishSilentOf + sqliteList + ` RETURNING id`,
	recordEnds:    recordEndsOf + sqliteList,
	deleteRecords: deleteRecordsSQLite,

	index:              sqliteIndex{},
	readFeedback:       readFeedbackOf + sqliteList,
	lockMetadata:       readMetadata,
	holdConversation:   []string{readListedRow, readOpenedRow},
	eraseConversations: []string{deleteListedOf + sqliteList, deleteNotesOf + sqliteList, deleteFeedbackOf + sqliteList},
	inList:             func(parameter string) string { return ` IN (SELECT value FROM json_each(` + parameter + `))` },
	elements:           func(parameter string) string { return `json_each(` + parameter + `)` },
}

// sqliteList is the condition that a column is an element of the JSON list $2.
const sqliteList = ` IN (SELECT value FROM json_each($2))`

const leaseIsHeld = `SELECT EXISTS (SELECT 1 FROM worker_lease WHERE instance = '' AND name = $1 AND holder = $2 AND epoch = $3)`

var deleteRecords = newBulk(`
DELETE FROM pending_record WHERE (instance, conversation_id, turn_number) IN (VALUES `, 3, `)`)

// deleteRecordsSQLite looks at the lease once: nobody else writes between its statements.
func deleteRecordsSQLite(ctx context.Context, db *sqldb.DB, lease Lease, instance string, keys []RecordKey) error {
	args := make([]any, 0, len(keys)*deleteRecords.columns)
	for i := range keys {
		args = append(args, instance, keys[i].ConversationID, keys[i].TurnNumber)
	}
	return db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var held bool
		if err := tx.QueryRowContext(ctx, leaseIsHeld, lease.Name, lease.Holder, lease.Epoch).Scan(&held); err != nil {
			return err
		}
		if !held {
			return ErrLeaseLost
		}
		_, err := deleteRecords.exec(ctx, tx, args)
		return err
	})
}

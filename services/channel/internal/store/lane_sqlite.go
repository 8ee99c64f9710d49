package store

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// On SQLite the deliveries of a lane are a chain: the lane names the newest, and
// each the one before it. A number that a chain ends with may have gone to
// another delivery since, of another lane.

// sqliteChain and sqliteChainEnd stand around the entry with which to begin. They
// give the deliveries of a lane from there on, the newest first; $1 to $3 are the
// key of the lane. They come in the order that the recursion says, since SQLite
// works at one at a time (https://sqlite.org/lang_with.html). NOT INDEXED leaves the search by entry: SQLite would rather go
// through all deliveries of the instance.
const (
	sqliteChain = `
WITH RECURSIVE chain (link, before, number) AS (
    SELECT d.entry, d.previous_entry, d.sequence FROM lane AS l CROSS JOIN delivery AS d
    WHERE l.instance = $1 AND l.endpoint_id = $2 AND l.interaction_id = $3
      AND d.instance = $1 AND d.endpoint_id = $2 AND d.interaction_id = $3 AND d.entry = `
	sqliteChainEnd = `
    UNION ALL
    SELECT d.entry, d.previous_entry, d.sequence FROM chain CROSS JOIN delivery AS d
    WHERE d.instance = $1 AND d.endpoint_id = $2 AND d.interaction_id = $3 AND d.entry = chain.before AND d.sequence < chain.number
    ORDER BY 3 DESC)`
	sqliteLane = sqliteChain + `l.last_entry` + sqliteChainEnd
)

func (sqliteDialect) lane() laneSQL {
	return laneSQL{
		read: sqliteLane + `
SELECT ` + deliveryColumns + ` FROM chain CROSS JOIN delivery
WHERE delivery.instance = $1 AND delivery.entry = chain.link AND chain.number > $4
ORDER BY chain.number LIMIT CAST($5 AS BIGINT) + 0`,
		list: sqliteChain + `COALESCE((SELECT f.entry FROM delivery AS f WHERE f.instance = $1 AND f.id = $7), l.last_entry)` + sqliteChainEnd + `
SELECT ` + listColumns + ` FROM chain CROSS JOIN delivery
WHERE delivery.instance = $1 AND delivery.entry = chain.link AND chain.number >= $4 AND chain.number < $5
LIMIT CAST($6 AS BIGINT) + 0`,
		first: sqliteLane + `
SELECT COALESCE((SELECT min(number) FROM chain), 0), COALESCE((
    SELECT settled_seq FROM lane WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3), 0), COALESCE((
    SELECT min(sequence) FROM delivery
    WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND state = 'PENDING'), 0)`,
		eraseSettled: sqliteLane + `
DELETE FROM delivery NOT INDEXED
WHERE instance = $1 AND entry IN (SELECT link FROM chain WHERE number >= $4 AND number <= $5) AND state <> 'PENDING'`,
		erase: sqliteLane + `
DELETE FROM delivery NOT INDEXED WHERE instance = $1 AND entry IN (SELECT link FROM chain) RETURNING state`,
		count: sqliteLane + `
SELECT count(*) FROM chain`,
	}
}

// listFrom is the delivery that the chain is followed from.
func (sqliteDialect) listFrom(id string) []any { return []any{id} }

const (
	sqliteRetireSQL = `DELETE FROM delivery NOT INDEXED WHERE instance = $1 AND entry = $2`
	sqliteOldSQL    = `
SELECT d.entry, d.previous_entry, d.endpoint_id, d.interaction_id, EXISTS (
    SELECT 1 FROM delivery AS p
    WHERE p.instance = $1 AND p.endpoint_id = d.endpoint_id AND p.interaction_id = d.interaction_id AND p.entry = d.previous_entry
      AND p.sequence < d.sequence)
FROM delivery AS d WHERE d.instance = $1 AND d.id = $2 AND d.state <> 'PENDING' AND d.settle_time < $3`
	sqliteRelinkSQL = sqliteLane + `
UPDATE delivery NOT INDEXED SET previous_entry = $5 WHERE instance = $1 AND entry IN (SELECT link FROM chain WHERE before = $4)`
	sqliteRelinkLaneSQL = `
UPDATE lane SET last_entry = $5 WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND last_entry = $4`
)

// retire deletes a delivery. Mostly all before it in its lane are gone already. If
// they are not, because one of them was sent again, the one behind it leads to them
// from now on.
func (d sqliteDialect) retire(ctx context.Context, tx sqldb.Tx, instance, id string, before time.Time) (int64, error) {
	var (
		key             = LaneKey{Instance: instance}
		entry, previous int64
		inside          bool
	)
	err := tx.QueryRowContext(ctx, sqliteOldSQL, instance, id, sqldb.Micros(before)).
		Scan(&entry, &previous, &key.EndpointID, &key.InteractionID, &inside)
	if sqldb.IsNoRows(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if inside {
		d.queues.forget()
		for _, statement := range []string{sqliteRelinkSQL, sqliteRelinkLaneSQL} {
			if _, err := tx.ExecContext(ctx, statement, key.Instance, key.EndpointID, key.InteractionID, entry, previous); err != nil {
				return 0, err
			}
		}
	}
	result, err := tx.ExecContext(ctx, sqliteRetireSQL, instance, entry)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

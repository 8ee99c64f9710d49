package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// dueLanes is how many lanes one batch of Due touches, so that other writers
// hardly wait.
const dueLanes = 500

// dueSQL looks at the lease once more in the outer condition: on PostgreSQL a
// lane may be taken between the two looks, and then belongs to its holder.
const dueSQL = `
UPDATE lane SET next_time = $3
WHERE lease_until = 0 AND (instance, endpoint_id, interaction_id) IN (
    SELECT instance, endpoint_id, interaction_id FROM lane
    WHERE instance = $1 AND endpoint_id = $2 AND settled_seq < last_seq AND next_time > $3 AND next_time < ` + never + ` AND lease_until = 0
    LIMIT CAST($4 AS BIGINT) + 0)`

const dueRedeliveriesSQL = `
UPDATE redelivery_lane SET next_time = $3
WHERE lease_until = 0 AND (instance, endpoint_id, interaction_id) IN (
    SELECT instance, endpoint_id, interaction_id FROM redelivery_lane
    WHERE instance = $1 AND endpoint_id = $2 AND waiting > 0 AND next_time > $3 AND lease_until = 0
    LIMIT CAST($4 AS BIGINT) + 0)`

// Due makes lanes of an endpoint due now that wait for a later time, and what is
// to be sent again, in one short batch; done says that none is left. Lanes that somebody holds are left
// to them, and parked ones parked.
func (s *Store) Due(ctx context.Context, e Endpoint, now time.Time) (done bool, err error) {
	result, err := s.db.Exec1(ctx, dueSQL, e.Instance, e.ID, sqldb.Micros(now), dueLanes)
	if err != nil {
		return false, fmt.Errorf("make lanes due: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == dueLanes {
		return false, err
	}
	result, err = s.db.Exec1(ctx, dueRedeliveriesSQL, e.Instance, e.ID, sqldb.Micros(now), dueLanes)
	if err != nil {
		return false, fmt.Errorf("make redeliveries due: %w", err)
	}
	n, err := result.RowsAffected()
	return n < dueLanes, err
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

const (
	// parkedUntil is the next time of a parked lane: it is due when somebody
	// says so. In the index of pending lanes it stands behind all that can
	// become due by itself, and so costs those who look for work nothing.
	parkedUntil = math.MaxInt64
	// never is parkedUntil in SQL.
	never = `9223372036854775807`
	// parkedLane is 1 for a parked lane and 0 for others: how many deliveries
	// behind its settled number are not pending.
	parkedLane = `CASE WHEN lane.next_time = ` + never + ` THEN 1 ELSE 0 END`
	// unparkLanes is how many lanes one batch of Unpark touches, so that other
	// writers hardly wait.
	unparkLanes = 500
)

// ParkLane ends the head of a held lane as d says, which is Dead, and with it
// the lease: nothing more of the lane is delivered until [Store.SendAgain] for
// that delivery, or Unpark. It stays the head until then.
func (s *Store) ParkLane(ctx context.Context, d *Delivery, epoch int64, now time.Time) error {
	if err := s.putOff(ctx, d, epoch, parkedUntil, sql.NullInt64{Int64: sqldb.Micros(now), Valid: true}); err != nil {
		return fmt.Errorf("park lane: %w", err)
	}
	return nil
}

const unparkSQL = `
UPDATE lane SET settled_seq = settled_seq + 1, next_time = $3
WHERE next_time = ` + never + ` AND (instance, endpoint_id, interaction_id) IN (
    SELECT instance, endpoint_id, interaction_id FROM lane
    WHERE instance = $1 AND endpoint_id = $2 AND settled_seq < last_seq AND next_time = ` + never + `
    LIMIT CAST($4 AS BIGINT) + 0)`

// Unpark has parked lanes of an endpoint go on behind their dead deliveries, in
// one short batch; done says that none is left.
func (s *Store) Unpark(ctx context.Context, e Endpoint, now time.Time) (done bool, err error) {
	result, err := s.db.Exec1(ctx, unparkSQL, e.Instance, e.ID, sqldb.Micros(now), unparkLanes)
	if err != nil {
		return false, fmt.Errorf("unpark lanes: %w", err)
	}
	n, err := result.RowsAffected()
	return n < unparkLanes, err
}

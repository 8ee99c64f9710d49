package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// LaneKey names what one conversation has to say to one endpoint.
type LaneKey struct{ Instance, EndpointID, InteractionID string }

func (k LaneKey) columns() [3]string { return [3]string{k.Instance, k.EndpointID, k.InteractionID} }

// laneSQL are statements over the deliveries of one lane. The first three
// arguments of each are the lane's key.
type laneSQL struct {
	// read reads deliveries behind a sequence, in order, at most so many.
	read string
	// list reads what is shown of deliveries by falling sequence: those from a
	// sequence on, below another, at most so many.
	list string
	// first reads the lowest sequence, the number of the last one settled, and the
	// lowest sequence that is pending, 0 if none is.
	first string
	// eraseSettled deletes those that are settled from a sequence to another.
	eraseSettled string
	// erase deletes all, and returns their states.
	erase string
	count string
}

// Lane is a lane that the caller holds.
type Lane struct {
	LaneKey
	// Epoch is that of the lease.
	Epoch int64
	// SettledSeq is the number of the last delivery that is settled.
	SettledSeq int64
	// Pending is the first deliveries that are pending, in order, as far as
	// they are read already.
	Pending []Delivery
}

const laneColumns = `instance, endpoint_id, interaction_id, epoch, settled_seq`

func (l *Lane) targets() []any {
	return []any{&l.Instance, &l.EndpointID, &l.InteractionID, &l.Epoch, &l.SettledSeq}
}

// Endpoint names a channel or an integration of the Bot API.
type Endpoint struct{ Instance, ID string }

const readyEndpointsSQL = `
WITH RECURSIVE pending (endpoint_id) AS (
    SELECT min(endpoint_id) FROM lane WHERE settled_seq < last_seq
    UNION ALL
    SELECT (SELECT min(lane.endpoint_id) FROM lane WHERE lane.settled_seq < lane.last_seq AND lane.endpoint_id > pending.endpoint_id)
    FROM pending WHERE pending.endpoint_id IS NOT NULL)
SELECT COALESCE(channel.instance, bot_api.instance), pending.endpoint_id FROM pending
LEFT JOIN channel ON channel.id = pending.endpoint_id AND channel.state = 'ACTIVE' AND channel.delete_time IS NULL
LEFT JOIN bot_api ON bot_api.id = pending.endpoint_id AND bot_api.state = 'ACTIVE' AND bot_api.delete_time IS NULL
    AND bot_api.callback_url <> ''
WHERE (channel.id IS NOT NULL OR bot_api.id IS NOT NULL) AND EXISTS (
    SELECT 1 FROM lane
    WHERE lane.endpoint_id = pending.endpoint_id AND lane.settled_seq < lane.last_seq AND lane.next_time <= $1)`

// ReadyEndpoints lists the active channels, and the active integrations that
// have a callback, with a lane that is due. It costs
// a few steps per endpoint, however many lanes an endpoint has: the recursion
// jumps from one endpoint to the next in the index of pending lanes.
func (s *Store) ReadyEndpoints(ctx context.Context, now time.Time) ([]Endpoint, error) {
	rows, err := s.db.Reader().QueryContext(ctx, readyEndpointsSQL, sqldb.Micros(now))
	endpoints, err := collect(rows, err, func(e *Endpoint) []any { return []any{&e.Instance, &e.ID} })
	if err != nil {
		return nil, fmt.Errorf("list ready endpoints: %w", err)
	}
	return endpoints, nil
}

// Claim says how many lanes of an endpoint to take.
type Claim struct {
	Endpoint
	Limit int
}

// ClaimLanes takes lanes that are due, those that wait longest first, until
// the given time: of each endpoint at most its limit. Each comes with its first
// pending deliveries, ReadAhead at most; there may be none if they came at this
// moment.
func (s *Store) ClaimLanes(ctx context.Context, claims []Claim, now, until time.Time) ([]Lane, error) {
	var lanes []Lane
	err := s.pool.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		lanes = lanes[:0]
		for _, claim := range claims {
			args := append([]any{claim.Instance, claim.ID, sqldb.Micros(now), sqldb.Micros(until), claim.Limit}, s.dialect.holder()...)
			rows, err := tx.QueryContext(ctx, s.dialect.claimLanes(), args...)
			taken, err := collect(rows, err, (*Lane).targets)
			if err != nil {
				return err
			}
			lanes = append(lanes, taken...)
		}
		s.dialect.tookLanes(lanes, until)
		return s.heads.ofLanes(ctx, tx, lanes)
	})
	if err != nil {
		return nil, fmt.Errorf("claim lanes: %w", err)
	}
	return lanes, nil
}

// ReleaseLane ends the lease without a result; the lane is due at once.
func (s *Store) ReleaseLane(ctx context.Context, key LaneKey, epoch int64, now time.Time) error {
	return changed(s.db.Exec1(ctx, `
UPDATE lane SET lease_until = 0, next_time = $5
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND epoch = $4 AND lease_until > 0`,
		key.Instance, key.EndpointID, key.InteractionID, epoch, sqldb.Micros(now)))
}

// RenewLane makes the lease last until the given time.
func (s *Store) RenewLane(ctx context.Context, key LaneKey, epoch int64, until time.Time) error {
	return changed(s.db.Exec1(ctx, `
UPDATE lane SET lease_until = $5, next_time = $5
WHERE instance = $1 AND endpoint_id = $2 AND interaction_id = $3 AND epoch = $4 AND lease_until > 0`,
		key.Instance, key.EndpointID, key.InteractionID, epoch, sqldb.Micros(until)))
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// State says whether a channel's deliveries are attempted.
type State string

// The states of a channel.
const (
	Active   State = "ACTIVE"
	Paused   State = "PAUSED"
	Disabled State = "DISABLED"
)

// Acknowledgement says which answer of a receiver counts as success.
type Acknowledgement string

// The kinds of acknowledgement.
const (
	StatusOK Acknowledgement = "STATUS_OK"
	Any2xx   Acknowledgement = "ANY_2XX"
)

// FailurePolicy says what a delivery that nobody takes does to its lane.
type FailurePolicy string

// The policies.
const (
	// Skip gives the delivery up after its last attempt, and the lane goes on.
	Skip FailurePolicy = "SKIP"
	// Hold never gives it up.
	Hold FailurePolicy = "HOLD"
	// Park gives it up, and the lane waits for somebody.
	Park FailurePolicy = "PARK"
)

// Channel is a row of the table of channels.
type Channel struct {
	Instance, ID     string
	DisplayName      string
	AgentID          string
	WebhookURL       string
	Test             bool
	InboundTokenHash []byte // nil: no token is wanted
	Acknowledgement  Acknowledgement
	Timeout          time.Duration // stored to the millisecond
	FailurePolicy    FailurePolicy
	// SkipAfter is how long a failing delivery may hold its lane up, 0 without
	// that limit; stored to the millisecond.
	SkipAfter   time.Duration
	State       State
	StateReason string
	Secret      []byte // the ring of signing secrets, sealed
	CreateTime  time.Time
	UpdateTime  time.Time
}

// ChannelChange names what to change; nil leaves a field as it is.
type ChannelChange struct {
	DisplayName, AgentID, WebhookURL *string
	// InboundTokenHash: a pointer to nil removes the token.
	InboundTokenHash *[]byte
	Acknowledgement  *Acknowledgement
	Timeout          *time.Duration
	FailurePolicy    *FailurePolicy
	// SkipAfter: a pointer to 0 removes the limit.
	SkipAfter *time.Duration
}

const channelColumns = `instance, id, display_name, agent_id, webhook_url, test, inbound_token_hash, acknowledgement, timeout_ms,
    failure_policy, skip_after_ms, state, state_reason, secret, create_time, update_time`

// channelRow is a Channel as the engines give it.
type channelRow struct {
	Channel
	timeoutMS, skipAfterMS, created, updated int64
}

func (r *channelRow) targets() []any {
	return []any{
		&r.Instance, &r.ID, &r.DisplayName, &r.AgentID, &r.WebhookURL, &r.Test, &r.InboundTokenHash, &r.Acknowledgement,
		&r.timeoutMS, &r.FailurePolicy, &r.skipAfterMS, &r.State, &r.StateReason, &r.Secret, &r.created, &r.updated,
	}
}

func (r *channelRow) channel() *Channel {
	r.Timeout, r.SkipAfter = time.Duration(r.timeoutMS)*time.Millisecond, time.Duration(r.skipAfterMS)*time.Millisecond
	r.CreateTime, r.UpdateTime = sqldb.Time(r.created), sqldb.Time(r.updated)
	if len(r.InboundTokenHash) == 0 {
		r.InboundTokenHash = nil
	}
	return &r.Channel
}

func found(row *channelRow, err error) (*Channel, error) {
	if sqldb.IsNoRows(err) {
		return nil, ErrChannelNotFound
	}
	if err != nil {
		return nil, err
	}
	return row.channel(), nil
}

// CreateChannel stores a channel. With a key, whose Response must be set, the
// record of the key is stored with it; if the key stands for the same request
// already, nothing is stored and the first response is returned.
func (s *Store) CreateChannel(ctx context.Context, c *Channel, key *Key) (replay []byte, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		replay = nil
		if key != nil {
			taken, err := takeKey(ctx, tx, c.Instance, key, c.CreateTime)
			if err != nil {
				return err
			}
			if !taken {
				replay, err = recall(ctx, tx, c.Instance, key, c.CreateTime)
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `
INSERT INTO channel (`+channelColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
			c.Instance, c.ID, c.DisplayName, c.AgentID, c.WebhookURL, c.Test, c.InboundTokenHash, string(c.Acknowledgement),
			c.Timeout.Milliseconds(), string(c.FailurePolicy), c.SkipAfter.Milliseconds(), string(c.State), c.StateReason, c.Secret, sqldb.Micros(c.CreateTime), sqldb.Micros(c.UpdateTime))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create channel: %w", err)
	}
	return replay, nil
}

// Channel reads one channel of an instance.
func (s *Store) Channel(ctx context.Context, instance, id string) (*Channel, error) {
	var row channelRow
	err := s.db.Reader().QueryRowContext(ctx, `
SELECT `+channelColumns+` FROM channel WHERE instance = $1 AND id = $2 AND delete_time IS NULL`, instance, id).Scan(row.targets()...)
	return found(&row, err)
}

// ChannelByID reads a channel by its id alone: the unguessable id is what the
// sender of a message has, and it decides the instance.
func (s *Store) ChannelByID(ctx context.Context, id string) (*Channel, error) {
	var row channelRow
	err := s.db.Reader().QueryRowContext(ctx, `
SELECT `+channelColumns+` FROM channel WHERE id = $1 AND delete_time IS NULL`, id).Scan(row.targets()...)
	return found(&row, err)
}

// ListChannels reads at most limit channels of an instance, oldest first,
// after the one with the given time of creation and id; the zero time and ""
// begin at the first.
func (s *Store) ListChannels(ctx context.Context, instance string, afterTime time.Time, afterID string, limit int) ([]*Channel, error) {
	after := int64(-1)
	if !afterTime.IsZero() {
		after = sqldb.Micros(afterTime)
	}
	rows, err := s.db.Reader().QueryContext(ctx, `
SELECT `+channelColumns+` FROM channel
WHERE instance = $1 AND delete_time IS NULL AND (create_time, id) > ($2, $3)
ORDER BY create_time, id LIMIT $4`, instance, after, afterID, limit)
	page, err := collect(rows, err, (*channelRow).targets)
	if err != nil {
		return nil, fmt.Errorf("list channels: %w", err)
	}
	channels := make([]*Channel, len(page))
	for i := range page {
		channels[i] = page[i].channel()
	}
	return channels, nil
}

// UpdateChannel changes a channel and returns it as it is then. A channel that was disabled because its webhook is gone is active
// again with another webhook.
func (s *Store) UpdateChannel(ctx context.Context, instance, id string, change ChannelChange, now time.Time) (*Channel, error) {
	var token []byte
	if change.InboundTokenHash != nil {
		token = *change.InboundTokenHash
	}
	var row channelRow
	err := s.db.Query1(ctx, `
UPDATE channel SET
    display_name       = COALESCE(CAST($3 AS TEXT), display_name),
    agent_id           = COALESCE(CAST($4 AS TEXT), agent_id),
    webhook_url        = COALESCE(CAST($5 AS TEXT), webhook_url),
    inbound_token_hash = CASE WHEN $6 THEN $7 ELSE inbound_token_hash END,
    acknowledgement    = COALESCE(CAST($8 AS TEXT), acknowledgement),
    timeout_ms         = COALESCE(CAST($9 AS BIGINT), timeout_ms),
    failure_policy     = COALESCE(CAST($11 AS TEXT), failure_policy),
    skip_after_ms      = COALESCE(CAST($12 AS BIGINT), skip_after_ms),
    state              = CASE WHEN CAST($5 AS TEXT) <> webhook_url AND state = 'DISABLED' THEN 'ACTIVE' ELSE state END,
    state_reason       = CASE WHEN CAST($5 AS TEXT) <> webhook_url AND state = 'DISABLED' THEN '' ELSE state_reason END,
    update_time        = $10
WHERE instance = $1 AND id = $2 AND delete_time IS NULL
RETURNING `+channelColumns, []any{
		instance, id, nullable(change.DisplayName), nullable(change.AgentID), nullable(change.WebhookURL),
		change.InboundTokenHash != nil, token, nullable((*string)(change.Acknowledgement)),
		milliseconds(change.Timeout), sqldb.Micros(now), nullable((*string)(change.FailurePolicy)), milliseconds(change.SkipAfter),
	}, row.targets()...)
	return found(&row, err)
}

// SetState moves a channel that is not deleted from one state to another and
// reports whether it was in the first.
func (s *Store) SetState(ctx context.Context, instance, id string, from, to State, reason string, now time.Time) (bool, error) {
	result, err := s.db.Exec1(ctx, `
UPDATE channel SET state = $4, state_reason = $5, update_time = $6
WHERE instance = $1 AND id = $2 AND state = $3 AND delete_time IS NULL`,
		instance, id, string(from), string(to), reason, sqldb.Micros(now))
	if err != nil {
		return false, fmt.Errorf("set channel state: %w", err)
	}
	rows, err := result.RowsAffected()
	return rows > 0, err
}

// Move puts a channel into a state, whichever it is in, and returns it as it is
// then. One that is in that state already is not changed.
func (s *Store) Move(ctx context.Context, instance, id string, to State, now time.Time) (*Channel, error) {
	var row channelRow
	err := s.db.Query1(ctx, `
UPDATE channel SET
    state        = CAST($3 AS TEXT),
    state_reason = CASE WHEN state = CAST($3 AS TEXT) THEN state_reason ELSE '' END,
    update_time  = CASE WHEN state = CAST($3 AS TEXT) THEN update_time ELSE $4 END
WHERE instance = $1 AND id = $2 AND delete_time IS NULL
RETURNING `+channelColumns, []any{instance, id, string(to), sqldb.Micros(now)}, row.targets()...)
	return found(&row, err)
}

// ReplaceSecret stores another sealed ring in the place of the one that the
// caller read, and returns the channel as it is then. ErrSecretChanged says
// that somebody else replaced it since. With a key, whose Response must be set,
// it is as with [Store.CreateChannel].
func (s *Store) ReplaceSecret(ctx context.Context, c *Channel, sealed []byte, key *Key, now time.Time) (changed *Channel, replay []byte, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		changed, replay = nil, nil
		if key != nil {
			taken, err := takeKey(ctx, tx, c.Instance, key, now)
			if err != nil {
				return err
			}
			if !taken {
				replay, err = recall(ctx, tx, c.Instance, key, now)
				return err
			}
		}
		var row channelRow
		err := tx.QueryRowContext(ctx, `
UPDATE channel SET secret = $4, update_time = $5
WHERE instance = $1 AND id = $2 AND secret = $3 AND delete_time IS NULL
RETURNING `+channelColumns, c.Instance, c.ID, c.Secret, sealed, sqldb.Micros(now)).Scan(row.targets()...)
		if sqldb.IsNoRows(err) {
			return ErrSecretChanged
		}
		changed = row.channel()
		return err
	})
	if errors.Is(err, ErrSecretChanged) {
		err = s.secretChanged(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("replace secret: %w", err)
	}
	return changed, replay, nil
}

// DeleteChannel ends a channel: nothing is accepted, answered or delivered for
// it any more. What it left behind is for the Cancel functions.
func (s *Store) DeleteChannel(ctx context.Context, instance, id string, now time.Time) error {
	result, err := s.db.Exec1(ctx, `
UPDATE channel SET delete_time = $3, update_time = $3 WHERE instance = $1 AND id = $2 AND delete_time IS NULL`,
		instance, id, sqldb.Micros(now))
	if err != nil {
		return fmt.Errorf("delete channel: %w", err)
	}
	if rows, err := result.RowsAffected(); err != nil || rows == 0 {
		return ErrChannelNotFound
	}
	return nil
}

func nullable(s *string) sql.NullString {
	if s == nil {
		return sql.NullString{}
	}
	return sql.NullString{String: *s, Valid: true}
}

func milliseconds(d *time.Duration) sql.NullInt64 {
	if d == nil {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: d.Milliseconds(), Valid: true}
}

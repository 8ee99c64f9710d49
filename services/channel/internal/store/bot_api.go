package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

var (
	// ErrBotAPINotFound says that there is no such integration, or that it was deleted.
	ErrBotAPINotFound = errors.New("no such integration")
	// ErrCallbackIncomplete says that a change would leave a callback URL
	// without a token, or a token without a URL. Nothing was changed.
	ErrCallbackIncomplete = errors.New("callback without its other half")
)

// BotVersion says how the answers of an integration come.
type BotVersion string

// The versions of an integration.
const (
	BotV1 BotVersion = "V1"
	BotV2 BotVersion = "V2"
)

// BotAPI is a row of the table of integrations.
type BotAPI struct {
	Instance, ID   string
	DisplayName    string
	AgentID        string
	Squad          string
	Version        BotVersion
	CallbackURL    string // "": none
	CallbackToken  []byte // sealed; nil exactly if there is no URL
	IncludeContext bool
	TokenHash      []byte
	State          State
	StateReason    string
	Secret         []byte // the ring of signing secrets, sealed
	CreateTime     time.Time
	UpdateTime     time.Time
}

// BotAPIChange names what to change; nil leaves a field as it is.
type BotAPIChange struct {
	DisplayName, AgentID, Squad, CallbackURL *string
	Version                                  *BotVersion
	// CallbackToken: a pointer to nil removes the token.
	CallbackToken  *[]byte
	IncludeContext *bool
}

const botAPIColumns = `instance, id, display_name, agent_id, squad, version, callback_url, callback_token, include_context, token_hash,
    state, state_reason, secret, create_time, update_time`

// botAPIRow is a BotAPI as the engines give it.
type botAPIRow struct {
	BotAPI
	created, updated int64
}

func (r *botAPIRow) targets() []any {
	return []any{
		&r.Instance, &r.ID, &r.DisplayName, &r.AgentID, &r.Squad, &r.Version, &r.CallbackURL, &r.CallbackToken, &r.IncludeContext,
		&r.TokenHash, &r.State, &r.StateReason, &r.Secret, &r.created, &r.updated,
	}
}

func (r *botAPIRow) botAPI() *BotAPI {
	r.CreateTime, r.UpdateTime = sqldb.Time(r.created), sqldb.Time(r.updated)
	if len(r.CallbackToken) == 0 {
		r.CallbackToken = nil
	}
	return &r.BotAPI
}

func foundBotAPI(row *botAPIRow, err error) (*BotAPI, error) {
	if sqldb.IsNoRows(err) {
		return nil, ErrBotAPINotFound
	}
	if err != nil {
		return nil, err
	}
	return row.botAPI(), nil
}

// once runs change unless the key was used for the same request before; then
// it gives the first response. Without a key it runs change.
func once(ctx context.Context, tx sqldb.Tx, instance string, key *Key, now time.Time, change func() error) (replay []byte, err error) {
	if key != nil {
		taken, err := takeKey(ctx, tx, instance, key, now)
		if err != nil {
			return nil, err
		}
		if !taken {
			return recall(ctx, tx, instance, key, now)
		}
	}
	return nil, change()
}

// CreateBotAPI stores an integration. With a key, whose Response must be set,
// the record of the key is stored with it; if the key stands for the same
// request already, nothing is stored and the first response is returned.
func (s *Store) CreateBotAPI(ctx context.Context, b *BotAPI, key *Key) (replay []byte, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) (err error) {
		replay, err = once(ctx, tx, b.Instance, key, b.CreateTime, func() error {
			_, err := tx.ExecContext(ctx, `
INSERT INTO bot_api (`+botAPIColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
				b.Instance, b.ID, b.DisplayName, b.AgentID, b.Squad, string(b.Version), b.CallbackURL, b.CallbackToken, b.IncludeContext,
				b.TokenHash, string(b.State), b.StateReason, b.Secret, sqldb.Micros(b.CreateTime), sqldb.Micros(b.UpdateTime))
			return err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create integration: %w", err)
	}
	return replay, nil
}

// BotAPI reads one integration of an instance.
func (s *Store) BotAPI(ctx context.Context, instance, id string) (*BotAPI, error) {
	var row botAPIRow
	err := s.db.Reader().QueryRowContext(ctx, `
SELECT `+botAPIColumns+` FROM bot_api WHERE instance = $1 AND id = $2 AND delete_time IS NULL`, instance, id).Scan(row.targets()...)
	return foundBotAPI(&row, err)
}

// BotAPIByID reads an integration by its unguessable id alone; whoever names it
// with an instance compares that afterwards.
func (s *Store) BotAPIByID(ctx context.Context, id string) (*BotAPI, error) {
	var row botAPIRow
	err := s.db.Reader().QueryRowContext(ctx, `
SELECT `+botAPIColumns+` FROM bot_api WHERE id = $1 AND delete_time IS NULL`, id).Scan(row.targets()...)
	return foundBotAPI(&row, err)
}

// ListBotAPIs reads at most limit integrations of an instance, oldest first,
// after the one with the given time of creation and id; the zero time and ""
// begin at the first.
func (s *Store) ListBotAPIs(ctx context.Context, instance string, afterTime time.Time, afterID string, limit int) ([]*BotAPI, error) {
	after := int64(-1)
	if !afterTime.IsZero() {
		after = sqldb.Micros(afterTime)
	}
	rows, err := s.db.Reader().QueryContext(ctx, `
SELECT `+botAPIColumns+` FROM bot_api
WHERE instance = $1 AND delete_time IS NULL AND (create_time, id) > ($2, $3)
ORDER BY create_time, id LIMIT $4`, instance, after, afterID, limit)
	page, err := collect(rows, err, (*botAPIRow).targets)
	if err != nil {
		return nil, fmt.Errorf("list integrations: %w", err)
	}
	all := make([]*BotAPI, len(page))
	for i := range page {
		all[i] = page[i].botAPI()
	}
	return all, nil
}

// UpdateBotAPI changes an integration and returns it as it is then. One that
// was disabled because its callback is gone is active again with another URL.
// ErrCallbackIncomplete says that URL and token would not be there together.
func (s *Store) UpdateBotAPI(ctx context.Context, instance, id string, change BotAPIChange, now time.Time) (*BotAPI, error) {
	var token []byte
	if change.CallbackToken != nil {
		token = *change.CallbackToken
	}
	var include sql.NullBool
	if change.IncludeContext != nil {
		include = sql.NullBool{Bool: *change.IncludeContext, Valid: true}
	}
	var row botAPIRow
	err := s.db.Query1(ctx, `
UPDATE bot_api SET
    display_name    = COALESCE(CAST($3 AS TEXT), display_name),
    agent_id        = COALESCE(CAST($4 AS TEXT), agent_id),
    squad           = COALESCE(CAST($5 AS TEXT), squad),
    version         = COALESCE(CAST($6 AS TEXT), version),
    callback_url    = COALESCE(CAST($7 AS TEXT), callback_url),
    callback_token  = CASE WHEN $8 THEN $9 ELSE callback_token END,
    include_context = COALESCE(CAST($10 AS BOOLEAN), include_context),
    state           = CASE WHEN CAST($7 AS TEXT) <> callback_url AND state = 'DISABLED' THEN 'ACTIVE' ELSE state END,
    state_reason    = CASE WHEN CAST($7 AS TEXT) <> callback_url AND state = 'DISABLED' THEN '' ELSE state_reason END,
    update_time     = $11
WHERE instance = $1 AND id = $2 AND delete_time IS NULL
  AND (COALESCE(CAST($7 AS TEXT), callback_url) = '') = ((CASE WHEN $8 THEN $9 ELSE callback_token END) IS NULL)
RETURNING `+botAPIColumns, []any{
		instance, id, nullable(change.DisplayName), nullable(change.AgentID), nullable(change.Squad), nullable((*string)(change.Version)),
		nullable(change.CallbackURL), change.CallbackToken != nil, token, include, sqldb.Micros(now),
	}, row.targets()...)
	if sqldb.IsNoRows(err) {
		if _, err := s.BotAPI(ctx, instance, id); err != nil {
			return nil, err
		}
		return nil, ErrCallbackIncomplete
	}
	return foundBotAPI(&row, err)
}

// SetBotAPIState moves an integration that is not deleted from one state to
// another and reports whether it was in the first.
func (s *Store) SetBotAPIState(ctx context.Context, instance, id string, from, to State, reason string, now time.Time) (bool, error) {
	result, err := s.db.Exec1(ctx, `
UPDATE bot_api SET state = $4, state_reason = $5, update_time = $6
WHERE instance = $1 AND id = $2 AND state = $3 AND delete_time IS NULL`,
		instance, id, string(from), string(to), reason, sqldb.Micros(now))
	if err != nil {
		return false, fmt.Errorf("set state of integration: %w", err)
	}
	rows, err := result.RowsAffected()
	return rows > 0, err
}

// MoveBotAPI puts an integration into a state, whichever it is in, and returns
// it as it is then. One that is in that state already is not changed.
func (s *Store) MoveBotAPI(ctx context.Context, instance, id string, to State, now time.Time) (*BotAPI, error) {
	var row botAPIRow
	err := s.db.Query1(ctx, `
UPDATE bot_api SET
    state        = CAST($3 AS TEXT),
    state_reason = CASE WHEN state = CAST($3 AS TEXT) THEN state_reason ELSE '' END,
    update_time  = CASE WHEN state = CAST($3 AS TEXT) THEN update_time ELSE $4 END
WHERE instance = $1 AND id = $2 AND delete_time IS NULL
RETURNING `+botAPIColumns, []any{instance, id, string(to), sqldb.Micros(now)}, row.targets()...)
	return foundBotAPI(&row, err)
}

// ReplaceBotAPISecret stores another sealed ring in the place of the one that
// the caller read, and returns the integration as it is then. ErrSecretChanged
// says that somebody else replaced it since. With a key, whose Response must be
// set, it is as with [Store.CreateBotAPI].
func (s *Store) ReplaceBotAPISecret(ctx context.Context, b *BotAPI, sealed []byte, key *Key, now time.Time) (changed *BotAPI, replay []byte, err error) {
	changed, replay, err = s.replaceInBotAPI(ctx, b.Instance, key, now, `
UPDATE bot_api SET secret = $4, update_time = $5
WHERE instance = $1 AND id = $2 AND secret = $3 AND delete_time IS NULL
RETURNING `+botAPIColumns, b.Instance, b.ID, b.Secret, sealed, sqldb.Micros(now))
	if errors.Is(err, ErrBotAPINotFound) {
		err = s.secretChanged(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("replace secret of integration: %w", err)
	}
	return changed, replay, nil
}

// ReplaceBotAPIToken stores the hash of another token, and returns the
// integration as it is then. With a key, whose Response must be set, it is as
// with [Store.CreateBotAPI].
func (s *Store) ReplaceBotAPIToken(ctx context.Context, instance, id string, hash []byte, key *Key, now time.Time) (changed *BotAPI, replay []byte, err error) {
	changed, replay, err = s.replaceInBotAPI(ctx, instance, key, now, `
UPDATE bot_api SET token_hash = $3, update_time = $4
WHERE instance = $1 AND id = $2 AND delete_time IS NULL
RETURNING `+botAPIColumns, instance, id, hash, sqldb.Micros(now))
	if err != nil {
		return nil, nil, fmt.Errorf("replace token of integration: %w", err)
	}
	return changed, replay, nil
}

// replaceInBotAPI runs an update of one integration under a key.
func (s *Store) replaceInBotAPI(
	ctx context.Context, instance string, key *Key, now time.Time, query string, args ...any,
) (changed *BotAPI, replay []byte, err error) {
	err = s.db.Write(ctx, func(ctx context.Context, tx sqldb.Tx) (err error) {
		changed = nil
		replay, err = once(ctx, tx, instance, key, now, func() (err error) {
			var row botAPIRow
			err = tx.QueryRowContext(ctx, query, args...).Scan(row.targets()...)
			changed, err = foundBotAPI(&row, err)
			return err
		})
		return err
	})
	return changed, replay, err
}

// DeleteBotAPI ends an integration: nothing is accepted, answered or delivered
// for it any more. What it left behind is for the Cancel functions.
func (s *Store) DeleteBotAPI(ctx context.Context, instance, id string, now time.Time) error {
	result, err := s.db.Exec1(ctx, `
UPDATE bot_api SET delete_time = $3, update_time = $3 WHERE instance = $1 AND id = $2 AND delete_time IS NULL`,
		instance, id, sqldb.Micros(now))
	if err != nil {
		return fmt.Errorf("delete integration: %w", err)
	}
	if rows, err := result.RowsAffected(); err != nil || rows == 0 {
		return ErrBotAPINotFound
	}
	return nil
}

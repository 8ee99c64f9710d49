package directory

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// CallbackTokenContext names what an integration's sealed callback token
// belongs to.
func CallbackTokenContext(instance, id string) string {
	return "channel/callback-token/" + instance + "/" + id
}

// BotAPI returns the integration, as Endpoint does. It is shared and must not be
// changed. Errors: store.ErrBotAPINotFound, and those of the store.
func (d *Directory) BotAPI(ctx context.Context, id string) (*store.BotAPI, error) {
	endpoint, err := d.Endpoint(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && endpoint.BotAPI == nil {
		return nil, store.ErrBotAPINotFound
	}
	if err != nil {
		return nil, err
	}
	return endpoint.BotAPI, nil
}

// openBotAPI makes the endpoint of an integration. A callback says with any 2xx
// that it has the answer.
func (d *Directory) openBotAPI(row *store.BotAPI) (*Endpoint, error) {
	ring, err := signing.Open(d.box, row.Secret, SecretContext(row.Instance, row.ID))
	if err != nil {
		return nil, fmt.Errorf("integration %s: %w", row.ID, err)
	}
	e := &Endpoint{
		Instance: row.Instance, ID: row.ID, AgentID: row.AgentID, BotAPI: row, State: row.State,
		Timeout: callbackTimeout, Acknowledgement: store.Any2xx, ring: ring,
	}
	if row.CallbackURL == "" || row.CallbackToken == nil {
		return e, nil
	}
	token, err := d.box.Open(row.CallbackToken, CallbackTokenContext(row.Instance, row.ID))
	if err != nil {
		return nil, fmt.Errorf("integration %s: open callback token: %w", row.ID, err)
	}
	e.URL, e.Header = row.CallbackURL, http.Header{"Authorization": {string(token)}}
	return e, nil
}

package directory

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// ErrNotFound says that an id is neither a channel's nor an integration's.
var ErrNotFound = errors.New("no such channel or integration")

// callbackTimeout is how long an exchange with a callback may take.
const callbackTimeout = webhook.DefaultTimeout

// Endpoint is what messages come in by, and where answers go. It is shared and
// must not be changed.
type Endpoint struct {
	Instance, ID, AgentID string
	// Channel and BotAPI are the two kinds: one of them is nil.
	Channel *store.Channel
	BotAPI  *store.BotAPI

	// State says whether answers are sent.
	State store.State
	// URL is where they are sent, "" if nowhere.
	URL string
	// Header is what is sent with them, nil for nothing.
	Header http.Header
	// Timeout bounds one exchange.
	Timeout time.Duration
	// Acknowledgement says which answer counts as success.
	Acknowledgement store.Acknowledgement
	// FailurePolicy says what a delivery that is not taken does to its lane;
	// anything but Hold and Park skips it.
	FailurePolicy store.FailurePolicy
	// SkipAfter is how long such a delivery may hold its lane up, 0 without that
	// limit.
	SkipAfter time.Duration

	ring signing.Ring
}

// Secrets are those that sign what is sent at the given time, newest first: more
// than one for a day after each rotation. The slice must not be changed.
func (e *Endpoint) Secrets(now time.Time) []webhook.Secret { return e.ring.At(now) }

// CallerWaits reports whether who brings a message waits for its answer.
func (e *Endpoint) CallerWaits() bool { return e.BotAPI != nil && e.BotAPI.Version == store.BotV1 }

// Delivers reports whether answers are sent now.
func (e *Endpoint) Delivers() bool { return e.State == store.Active && e.URL != "" }

// Endpoint returns the channel or integration, as it was at most two seconds
// ago. Errors: ErrNotFound, and those of the store.
func (d *Directory) Endpoint(ctx context.Context, id string) (*Endpoint, error) {
	return d.endpoints.get(id, d.clock.Now(), ErrNotFound, func() (*Endpoint, error) {
		channel, err := d.reader.ChannelByID(ctx, id)
		if err == nil {
			return d.openChannel(channel)
		}
		if !errors.Is(err, store.ErrChannelNotFound) {
			return nil, err
		}
		integration, err := d.reader.BotAPIByID(ctx, id)
		if errors.Is(err, store.ErrBotAPINotFound) {
			return nil, ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		return d.openBotAPI(integration)
	})
}

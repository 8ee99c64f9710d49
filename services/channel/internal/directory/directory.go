// Package directory remembers channels and integrations for a moment, with their
// secrets opened, so that a message or an attempt costs no read of its endpoint.
package directory

import (
	"context"
	"errors"
	"fmt"

	"github.com/prosa-chat/prosa/services/channel/internal/signing"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
)

// Reader is the part of the store that the directory needs.
type Reader interface {
	ChannelByID(ctx context.Context, id string) (*store.Channel, error)
	BotAPIByID(ctx context.Context, id string) (*store.BotAPI, error)
}

// Directory looks channels and integrations up by id. It is safe for concurrent
// use.
type Directory struct {
	reader Reader
	box    *secretbox.Box
	clock  clock.Clock
	// changed is told of changes by this process.
	changed func(id string)

	endpoints cache[*Endpoint]
}

// New returns an empty directory. Changed is told of changes by this process, for
// Changed of others.
func New(reader Reader, box *secretbox.Box, c clock.Clock, changed func(id string)) *Directory {
	return &Directory{reader: reader, box: box, clock: c, changed: changed}
}

// SecretContext names what the sealed secrets of a channel or an integration
// belong to.
func SecretContext(instance, id string) string { return "channel/secret/" + instance + "/" + id }

// Get returns the channel, as Endpoint does. It is shared and must not be
// changed. Errors: store.ErrChannelNotFound, and those of the store.
func (d *Directory) Get(ctx context.Context, id string) (*store.Channel, error) {
	endpoint, err := d.Endpoint(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && endpoint.Channel == nil {
		return nil, store.ErrChannelNotFound
	}
	if err != nil {
		return nil, err
	}
	return endpoint.Channel, nil
}

// Knows reports whether a channel or integration of this id was found before; it
// asks nobody.
func (d *Directory) Knows(id string) bool { return d.endpoints.knows(id) }

// Forget makes the next look-up of a channel or integration read it anew. It is
// called after each change by this process.
func (d *Directory) Forget(id string) {
	d.endpoints.forget(id)
	d.changed(id)
}

// Changed makes the next look-up read anew what another process may have changed:
// a channel or integration, "" for all.
func (d *Directory) Changed(id string) {
	if id == "" {
		d.endpoints.forgetAll()
		return
	}
	d.endpoints.forget(id)
}

// openChannel makes the endpoint of a channel.
func (d *Directory) openChannel(row *store.Channel) (*Endpoint, error) {
	ring, err := signing.Open(d.box, row.Secret, SecretContext(row.Instance, row.ID))
	if err != nil {
		return nil, fmt.Errorf("channel %s: %w", row.ID, err)
	}
	return &Endpoint{
		Instance: row.Instance, ID: row.ID, AgentID: row.AgentID, Channel: row, State: row.State,
		URL: row.WebhookURL, Timeout: row.Timeout, Acknowledgement: row.Acknowledgement,
		FailurePolicy: row.FailurePolicy, SkipAfter: row.SkipAfter, ring: ring,
	}, nil
}

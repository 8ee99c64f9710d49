// Package directory remembers channels for a moment, with their signing
// secrets opened, so that a message or an attempt costs no read of its channel.
package directory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// ttl is how long a change made by another process may go unseen. Changes
	// made by this one are seen at once.
	ttl = 2 * time.Second
	// maxChannels bounds the memory; a process with more active channels reads
	// some of them more often.
	maxChannels = 16_384
)

// Reader is the part of the store that the directory needs.
type Reader interface {
	ChannelByID(ctx context.Context, id string) (*store.Channel, error)
}

// Channel is a channel with its secret opened. It is shared and must not be changed.
type Channel struct {
	*store.Channel
	// Secret signs webhooks.
	Secret webhook.Secret
}

// Directory looks channels up by id. It is safe for concurrent use.
type Directory struct {
	reader Reader
	box    *secretbox.Box
	clock  clock.Clock

	mu       sync.RWMutex
	channels map[string]entry
	// generation counts the forgotten, so that a read that began before a
	// change is not remembered after it.
	generation uint64
}

type entry struct {
	channel *Channel
	until   time.Time
}

// New returns an empty directory.
func New(reader Reader, box *secretbox.Box, c clock.Clock) *Directory {
	return &Directory{reader: reader, box: box, clock: c, channels: make(map[string]entry)}
}

// SecretContext names what a channel's sealed secret belongs to.
func SecretContext(instance, id string) string { return "channel/secret/" + instance + "/" + id }

// Get returns the channel, as it was at most two seconds ago. Errors:
// store.ErrChannelNotFound, and those of the store.
func (d *Directory) Get(ctx context.Context, id string) (*Channel, error) {
	now := d.clock.Now()
	d.mu.RLock()
	known, ok := d.channels[id]
	generation := d.generation
	d.mu.RUnlock()
	if ok && now.Before(known.until) {
		return known.channel, nil
	}
	row, err := d.reader.ChannelByID(ctx, id)
	if err != nil {
		return nil, err
	}
	opened, err := d.open(row)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.generation == generation {
		if len(d.channels) >= maxChannels {
			clear(d.channels)
		}
		d.channels[id] = entry{channel: opened, until: now.Add(ttl)}
	}
	return opened, nil
}

// Forget makes the next Get read the channel anew. It is called after each
// change of the channel by this process.
func (d *Directory) Forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.generation++
	delete(d.channels, id)
}

func (d *Directory) open(row *store.Channel) (*Channel, error) {
	plain, err := d.box.Open(row.Secret, SecretContext(row.Instance, row.ID))
	if err != nil {
		return nil, fmt.Errorf("open signing secret of channel %s: %w", row.ID, err)
	}
	secret, err := webhook.ParseSecret(string(plain))
	if err != nil {
		return nil, fmt.Errorf("read signing secret of channel %s: %w", row.ID, err)
	}
	return &Channel{Channel: row, Secret: secret}, nil
}

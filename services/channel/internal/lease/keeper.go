// Package lease keeps the leases of work that takes longer than a lease lasts.
//
// A lease is short, so that the work of a process that died is taken over soon;
// whoever is alive renews it in time.
package lease

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

// renewals is how many leases are renewed at once; on SQLite they share a commit.
const renewals = 32

// Keeper renews what it is given to hold. It is safe for concurrent use.
type Keeper[K comparable] struct {
	clock    clock.Clock
	duration time.Duration
	renew    func(ctx context.Context, key K, epoch int64, until time.Time) error

	mu   sync.Mutex
	held map[K]*hold
}

type hold struct {
	epoch  int64
	since  time.Time // of the lease or its last renewal
	cancel context.CancelFunc
}

// NewKeeper returns a keeper of leases that last for duration and are renewed
// by renew after a third of it.
func NewKeeper[K comparable](c clock.Clock, duration time.Duration, renew func(ctx context.Context, key K, epoch int64, until time.Time) error) *Keeper[K] {
	return &Keeper[K]{clock: c, duration: duration, renew: renew, held: make(map[K]*hold)}
}

// Until is when a lease that begins now ends.
func (k *Keeper[K]) Until() time.Time { return k.clock.Now().Add(k.duration) }

// Hold keeps a lease until Drop. When it turns out to be lost, cancel is called:
// whatever comes of the work will be refused.
func (k *Keeper[K]) Hold(key K, epoch int64, cancel context.CancelFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held[key] = &hold{epoch: epoch, since: k.clock.Now(), cancel: cancel}
}

// Drop ends what Hold began. A later holder of the same key is left alone.
func (k *Keeper[K]) Drop(key K, epoch int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h, ok := k.held[key]; ok && h.epoch == epoch {
		delete(k.held, key)
	}
}

// Revoke cancels the work of every holder whose key matches: what was held is
// gone. They find out by themselves too, at the next renewal.
func (k *Keeper[K]) Revoke(match func(K) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, h := range k.held {
		if match(key) {
			h.cancel()
		}
	}
}

// Run renews leases until ctx ends.
func (k *Keeper[K]) Run(ctx context.Context) {
	for clock.Wait(ctx, k.clock, k.duration/6, nil) {
		k.renewDue(ctx)
	}
}

type due[K comparable] struct {
	key  K
	hold *hold
}

func (k *Keeper[K]) renewDue(ctx context.Context) {
	now := k.clock.Now()
	var group errgroup.Group
	group.SetLimit(renewals)
	for _, d := range k.due(now) {
		group.Go(func() error {
			err := k.renew(ctx, d.key, d.hold.epoch, now.Add(k.duration))
			switch {
			case err == nil:
				k.mu.Lock()
				d.hold.since = now
				k.mu.Unlock()
			case errors.Is(err, store.ErrLeaseLost):
				k.lost(d)
			}
			// On any other error the next round tries again; if the lease runs out
			// before the store is back, the epoch decides who may write.
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error
}

// lost tells the holder, unless it has ended its work in the meantime.
func (k *Keeper[K]) lost(d due[K]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held[d.key] == d.hold {
		d.hold.cancel()
	}
}

func (k *Keeper[K]) due(now time.Time) []due[K] {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []due[K]
	for key, h := range k.held {
		if now.Sub(h.since) >= k.duration/3 {
			all = append(all, due[K]{key, h})
		}
	}
	return all
}

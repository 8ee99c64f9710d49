package accounts

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/accounts/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// useFlushInterval is how long the use of a key may go unseen.
	useFlushInterval = 10 * time.Second
	// maxPendingUses bounds the memory for uses that are not stored yet; further keys are noted after the next flush.
	maxPendingUses = 65_536
	// lastFlushTimeout is for the flush after the soft stop.
	lastFlushTimeout = 5 * time.Second
)

// useRecorder stores when keys were used last, to the minute, behind the back of the calls that use them: they only note it, and a
// worker writes what was noted in one transaction. So each key costs one row a minute at most, and no call waits for the disk. Uses of
// the last seconds before a crash are lost.
type useRecorder struct {
	store interface {
		RecordUses(ctx context.Context, uses []store.KeyUse) error
	}
	clock  clock.Clock
	logger *slog.Logger

	mu      sync.Mutex
	pending map[string]store.KeyUse // by key id
}

// note remembers that a key, as it is stored, was used.
func (r *useRecorder) note(k store.APIKey, now time.Time) {
	minute := now.Truncate(time.Minute)
	if !k.LastUseTime.Before(minute) {
		return
	}
	r.add(store.KeyUse{Instance: k.Instance, ID: k.ID, Time: minute})
}

func (r *useRecorder) add(use store.KeyUse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.pending[use.ID]
	if ok && !known.Time.Before(use.Time) || !ok && len(r.pending) >= maxPendingUses {
		return
	}
	r.pending[use.ID] = use
}

// Name is the worker's name.
func (r *useRecorder) Name() string { return "accounts-key-use" }

// Run stores what was noted every few seconds, and once more when the context ends.
func (r *useRecorder) Run(ctx context.Context) error {
	for clock.Wait(ctx, r.clock, useFlushInterval, nil) {
		r.flush(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlushTimeout)
	defer cancel()
	r.flush(last)
	return nil
}

// flush stores what was noted. What cannot be stored now stays noted.
func (r *useRecorder) flush(ctx context.Context) {
	r.mu.Lock()
	noted := r.pending
	r.pending = make(map[string]store.KeyUse)
	r.mu.Unlock()
	if len(noted) == 0 {
		return
	}
	uses := make([]store.KeyUse, 0, len(noted))
	for _, use := range noted {
		uses = append(uses, use)
	}
	slices.SortFunc(uses, func(a, b store.KeyUse) int {
		if c := strings.Compare(a.Instance, b.Instance); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	if err := r.store.RecordUses(ctx, uses); err != nil {
		for _, use := range uses {
			r.add(use)
		}
		r.logger.WarnContext(ctx, "record uses of API keys", slog.Int("keys", len(uses)), slog.Any("error", err))
	}
}

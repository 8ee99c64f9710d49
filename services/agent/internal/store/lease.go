package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/worklease"
)

// Lease is the right to do a work that only one process may do.
type Lease struct {
	// Name is the work's.
	Name string
	// Holder is who has the right.
	Holder string
	// Epoch grows whenever another holder takes over; what was done under an older one is refused.
	Epoch int64
}

// TakeLease takes a lease until a moment, or renews the holder's own. It reports false when another one holds it.
func (s *Store) TakeLease(ctx context.Context, name, holder string, now, until time.Time) (Lease, bool, error) {
	epoch, held, err := worklease.Take(ctx, s.db, name, holder, now, until)
	if err != nil || !held {
		return Lease{}, false, err
	}
	return Lease{Name: name, Holder: holder, Epoch: epoch}, true, nil
}

const giveLease = `UPDATE worker_lease SET expire_time = 0 WHERE instance = '' AND name = $1 AND holder = $2 AND epoch = $3`

// GiveLease gives a lease back, so that another process need not wait for its end.
func (s *Store) GiveLease(ctx context.Context, lease Lease) error {
	if _, err := s.db.Exec1(ctx, giveLease, lease.Name, lease.Holder, lease.Epoch); err != nil {
		return fmt.Errorf("give lease back: %w", err)
	}
	return nil
}

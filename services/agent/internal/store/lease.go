package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prosa-chat/prosa/services/internal/sqldb"
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

const takeLease = `
INSERT INTO worker_lease (instance, name, holder, epoch, expire_time) VALUES ('', $1, $2, 1, $3)
ON CONFLICT (instance, name) DO UPDATE SET
    epoch = CASE WHEN worker_lease.holder = excluded.holder THEN worker_lease.epoch ELSE worker_lease.epoch + 1 END,
    holder = excluded.holder,
    expire_time = excluded.expire_time
WHERE worker_lease.holder = excluded.holder OR worker_lease.expire_time <= $4
RETURNING epoch`

// TakeLease takes a lease until a moment, or renews the holder's own. It reports false when another one holds it.
func (s *Store) TakeLease(ctx context.Context, name, holder string, now, until time.Time) (Lease, bool, error) {
	lease := Lease{Name: name, Holder: holder}
	err := s.db.Query1(ctx, takeLease, []any{name, holder, sqldb.Micros(until), sqldb.Micros(now)}, &lease.Epoch)
	if sqldb.IsNoRows(err) {
		return Lease{}, false, nil
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("take lease: %w", err)
	}
	return lease, true, nil
}

const giveLease = `UPDATE worker_lease SET expire_time = 0 WHERE instance = '' AND name = $1 AND holder = $2 AND epoch = $3`

// GiveLease gives a lease back, so that another process need not wait for its end.
func (s *Store) GiveLease(ctx context.Context, lease Lease) error {
	if _, err := s.db.Exec1(ctx, giveLease, lease.Name, lease.Holder, lease.Epoch); err != nil {
		return fmt.Errorf("give lease back: %w", err)
	}
	return nil
}

package quotatest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/quota"
)

// Keeper is a keeper that counts in memory, for instances in UTC.
func Keeper(t testing.TB, c clock.Clock) *quota.Keeper {
	t.Helper()
	keeper, err := quota.NewKeeper(quota.KeeperDeps{
		Counter: quota.NewLocal(new(Ledger), c), Clock: c, Logger: slog.New(slog.DiscardHandler),
		Zone: func(context.Context, string) (*time.Location, error) { return time.UTC, nil },
	})
	require.NoError(t, err)
	return keeper
}

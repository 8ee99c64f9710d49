package retention_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/retention"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var migrations = func() fstest.MapFS {
	steps := fstest.MapFS{}
	for _, dialect := range []string{"sqlite", "postgres"} {
		steps[dialect+"/00001_lease.sql"] = &fstest.MapFile{Data: []byte(`-- +goose Up
CREATE TABLE worker_lease (instance TEXT NOT NULL, name TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL, expire_time BIGINT NOT NULL,
    PRIMARY KEY (instance, name));
-- +goose Down
DROP TABLE worker_lease;
`)}
	}
	return steps
}()

// kept is a store and its instances.
type kept struct {
	mu     sync.Mutex
	swept  []string // instance, cursor, and how old
	now    func() time.Time
	failed error
	ran    chan struct{}
}

func (k *kept) NextInstance(_ context.Context, after string) (string, error) {
	for _, slug := range []string{"acme", "ever", "gone", "zeta"} {
		if slug > after {
			return slug, nil
		}
	}
	select {
	case k.ran <- struct{}{}:
	default:
	}
	return "", nil
}

func (k *kept) Retire(_ context.Context, instance string, before time.Time, cursor string) (string, map[string]int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return "", nil, k.failed
	}
	k.swept = append(k.swept, instance+"/"+cursor+"/"+k.now().Sub(before).String())
	if cursor == "" && instance == "acme" {
		return "more", map[string]int64{"things": 2}, nil
	}
	return "", map[string]int64{"things": 1}, nil
}

func (k *kept) take() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.swept
	k.swept = nil
	return all
}

func (k *kept) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	switch slug {
	case "gone":
		return nil, rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance")
	case "ever":
		return &accountsv1.Instance{}, nil
	default:
		return &accountsv1.Instance{Retention: durationpb.New(24 * time.Hour)}, nil
	}
}

func TestRetention(t *testing.T) {
	testkit.EachEngine(t, migrations, "kept", func(t *testing.T, db *sqldb.DB) {
		c := clock.NewManual(start)
		k := &kept{now: c.Now, ran: make(chan struct{}, 1)}
		registry := prometheus.NewRegistry()
		worker := func(holder string, metrics prometheus.Registerer) *retention.Worker {
			w, err := retention.NewWorker(retention.Deps{
				Service: "kept", DB: db, Store: k, Instances: k, Clock: c, Logger: slog.New(slog.DiscardHandler), Holder: holder,
				Slack: time.Minute, Metrics: metrics,
			})
			require.NoError(t, err)
			return w
		}
		first, second := worker("first", registry), worker("second", nil)
		want := []string{"acme//24h1m0s", "acme/more/24h1m0s", "zeta//24h1m0s"}
		require.NoError(t, retention.RunOnce(t.Context(), first))
		require.Equal(t, want, k.take())
		require.NoError(t, retention.RunOnce(t.Context(), second))
		require.Empty(t, k.take(), "one process at a time")
		require.NoError(t, retention.RunOnce(t.Context(), first))
		require.Equal(t, want, k.take())
		c.Advance(6 * time.Minute)
		require.NoError(t, retention.RunOnce(t.Context(), second))
		require.Equal(t, want, k.take(), "another one goes on when the lease has ended")
		k.failed = errors.New("disk is full")
		require.Error(t, retention.RunOnce(t.Context(), second))
		k.failed = nil

		families, err := registry.Gather()
		require.NoError(t, err)
		require.Equal(t, "prosa_kept_retired_total", families[0].GetName())
		require.InDelta(t, 8, families[0].GetMetric()[0].GetCounter().GetValue(), 0)
	})
}

func TestRetentionRunsByItself(t *testing.T) {
	db := testkit.Open(t, testkit.Options(t, sqldb.SQLite, migrations, "kept"))
	c := clock.NewManual(start)
	k := &kept{now: c.Now, ran: make(chan struct{}, 1)}
	w, err := retention.NewWorker(retention.Deps{
		Service: "kept", DB: db, Store: k, Instances: k, Clock: c, Logger: slog.New(slog.DiscardHandler), Holder: "one",
	})
	require.NoError(t, err)
	require.Equal(t, "kept-retention", w.Name())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for range 2 {
		require.Eventually(t, func() bool {
			c.Advance(retention.Interval)
			select {
			case <-k.ran:
				return true
			default:
				return false
			}
		}, 20*time.Second, time.Millisecond)
	}
	require.NotEmpty(t, k.take())
	cancel()
	require.NoError(t, <-ended)
}

package idle

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

type fixture struct {
	store     *store.Store
	db        *sqldb.DB
	clock     *clock.Manual
	instances map[string]time.Duration // their timeouts; negative: they cannot be looked up
	metrics   *prometheus.Registry
	logs      *strings.Builder
	worker    *Worker
}

// Get makes the fixture the worker's instances.
func (f *fixture) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	timeout, ok := f.instances[slug]
	switch {
	case !ok:
		return nil, rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance")
	case timeout < 0:
		return nil, rpcerr.Unavailable(errors.New("test"))
	}
	return &accountsv1.Instance{Slug: slug, InactivityTimeout: durationpb.New(timeout)}, nil
}

func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngine(t, store.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) {
		f := &fixture{
			store: store.New(db), db: db, clock: clock.NewManual(start), metrics: prometheus.NewRegistry(), logs: &strings.Builder{},
			instances: map[string]time.Duration{"acme": time.Hour, "brief": time.Minute},
		}
		var err error
		f.worker, err = NewWorker(Deps{
			Store: f.store, DB: f.db, Holder: "one", Instances: f, Clock: f.clock, Logger: slog.New(slog.NewTextHandler(f.logs, nil)), Metrics: f.metrics,
		})
		require.NoError(t, err)
		test(t, f)
	})
}

// speak commits the next turn of a conversation now.
func (f *fixture) speak(t *testing.T, instance, conversation string, number int64) {
	t.Helper()
	require.NoError(t, f.store.CommitTurn(t.Context(), &store.Turn{
		Lane: store.Lane{Instance: instance, AgentID: "a1", EndpointID: "e1", Identifier: conversation},
		ID:   conversation + "-" + strconv.FormatInt(number, 10), Source: "api",
		Conversation: store.Conversation{ID: conversation, AttendanceID: 7, LastTurn: number - 1, FlowState: []byte{}},
		Answer:       []byte{}, Record: []byte{}, Time: f.clock.Now(),
	}))
}

func (f *fixture) ends(t *testing.T, instance string, conversations ...string) map[string]store.End {
	t.Helper()
	ends, err := f.store.Ends(t.Context(), instance, conversations)
	require.NoError(t, err)
	return ends
}

func TestConversationsEndWhenNothingHappens(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for _, instance := range []string{"acme", "brief", "deleted", "zzz"} {
			f.speak(t, instance, "c1", 1)
		}
		f.instances["zzz"] = time.Hour
		f.clock.Advance(time.Minute + grace - time.Microsecond)
		f.speak(t, "acme", "c1", 2)
		f.speak(t, "acme", "c2", 1)
		require.NoError(t, f.worker.runOnce(t.Context()))
		require.Empty(t, f.ends(t, "brief", "c1"), "what was accepted at the last moment may still wait")
		f.clock.Advance(time.Microsecond)
		require.NoError(t, f.worker.runOnce(t.Context()))
		require.Equal(t, map[string]store.End{"c1": {AttendanceID: 7, Time: start.Add(time.Minute)}}, f.ends(t, "brief", "c1"))
		require.Empty(t, f.ends(t, "acme", "c1", "c2"))

		f.clock.Set(start.Add(time.Hour + grace))
		require.NoError(t, f.worker.runOnce(t.Context()))
		require.Len(t, f.ends(t, "zzz", "c1"), 1)
		require.Empty(t, f.ends(t, "acme", "c1", "c2"), "they were spoken in since")
		f.clock.Advance(time.Hour)
		require.NoError(t, f.worker.runOnce(t.Context()))
		require.Len(t, f.ends(t, "acme", "c1", "c2"), 2)
		require.Empty(t, f.ends(t, "deleted", "c1"))
		require.InDelta(t, 4, testutil.ToFloat64(f.worker.ended), 0)
		require.NoError(t, f.worker.runOnce(t.Context()))
		require.Empty(t, f.logs.String())
	})
}

func TestManyConversationsEndInBatches(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		const conversations = 2*batchSize + 1
		for n := range conversations {
			f.speak(t, "acme", "c"+strconv.Itoa(n), 1)
		}
		f.clock.Advance(2 * time.Hour)
		before := f.db.Stats().Writes
		require.NoError(t, f.worker.runOnce(t.Context()))
		require.EqualValues(t, 1+3, f.db.Stats().Writes-before, "the lease, and three batches")
		require.InDelta(t, conversations, testutil.ToFloat64(f.worker.ended), 0)
	})
}

func TestInstanceThatCannotBeLookedUpKeepsNobody(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.instances["aaa"], f.instances["ever"] = -1, 0
		for _, instance := range []string{"aaa", "acme", "ever"} {
			f.speak(t, instance, "c1", 1)
		}
		f.clock.Advance(1000 * time.Hour)
		require.ErrorContains(t, f.worker.runOnce(t.Context()), "look up instance")
		require.Len(t, f.ends(t, "acme", "c1"), 1)
		require.Empty(t, f.ends(t, "aaa", "c1"))
		require.Empty(t, f.ends(t, "ever", "c1"), "an instance without a timeout")
		f.instances["aaa"] = time.Hour
		require.NoError(t, f.worker.runOnce(t.Context()))
		require.Len(t, f.ends(t, "aaa", "c1"), 1)
	})
}

func TestWorkerLooksAtEveryInterval(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		require.Equal(t, "agent-idle", f.worker.Name())
		f.speak(t, "brief", "c1", 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		f.clock.Advance(time.Hour)
		go func() { done <- f.worker.Run(ctx) }()
		f.clock.AwaitTimers(1)
		f.clock.Advance(interval - 1)
		require.Empty(t, f.ends(t, "brief", "c1"), "it does not begin with it")
		f.clock.Advance(1)
		f.clock.AwaitTimers(1)
		require.Len(t, f.ends(t, "brief", "c1"), 1)

		require.NoError(t, f.db.Close())
		f.clock.Advance(interval)
		f.clock.AwaitTimers(1)
		cancel()
		require.NoError(t, <-done)
		require.Contains(t, f.logs.String(), "idle conversations could not be ended")
	})
}

// TestOneProcessEndsConversations has two processes on a store: the second one works when the first has stopped to.
func TestOneProcessEndsConversations(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		second, err := NewWorker(Deps{
			Store: f.store, DB: f.db, Holder: "two", Instances: f, Clock: f.clock, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		require.NoError(t, f.worker.runOnce(t.Context()))
		f.speak(t, "brief", "c1", 1)
		f.clock.Advance(time.Minute + grace)
		require.NoError(t, second.runOnce(t.Context()))
		require.Empty(t, f.ends(t, "brief", "c1"), "it is the other one's work")
		f.clock.Advance(shiftTime - time.Minute - grace)
		require.NoError(t, second.runOnce(t.Context()))
		require.Len(t, f.ends(t, "brief", "c1"), 1)
		require.InDelta(t, 1, testutil.ToFloat64(second.ended), 0)
	})
}

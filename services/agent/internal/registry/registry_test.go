package registry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/registry"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const eco = `{"displayName":"Eco","fallback":"eco","nodes":{"eco":{"say":[{"text":"eco"}]}}}`

// faultyStore fails the first call of every method: before it does anything, or after it did all.
type faultyStore struct {
	registry.Store
	after  bool
	failed map[string]bool
}

var errFault = fmt.Errorf("%w: test", sqldb.ErrUnknownOutcome)

func (s *faultyStore) fail(method string, call func() error) error {
	if s.failed[method] {
		return call()
	}
	s.failed[method] = true
	if s.after {
		if err := call(); err != nil {
			return err
		}
	}
	return errFault
}

func (s *faultyStore) Write(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error {
	return s.fail("Write", func() error { return s.Store.Write(ctx, fn) })
}

func (s *faultyStore) ListAgents(ctx context.Context, instance string, after int64, limit int) (a []*store.Agent, err error) {
	err = s.fail("ListAgents", func() error {
		a, err = s.Store.ListAgents(ctx, instance, after, limit)
		return err
	})
	return a, err
}

func (s *faultyStore) Agent(ctx context.Context, instance, agentID string) (a *store.Agent, err error) {
	err = s.fail("Agent", func() error {
		a, err = s.Store.Agent(ctx, instance, agentID)
		return err
	})
	return a, err
}

func (s *faultyStore) Source(ctx context.Context, instance, agentID string, version int32) (f store.Format, text []byte, err error) {
	err = s.fail("Source", func() error {
		f, text, err = s.Store.Source(ctx, instance, agentID, version)
		return err
	})
	return f, text, err
}

func (s *faultyStore) UpdateAgent(
	ctx context.Context, instance, agentID string, c store.AgentChange, now time.Time,
) (a *store.Agent, err error) {
	err = s.fail("UpdateAgent", func() error {
		a, err = s.Store.UpdateAgent(ctx, instance, agentID, c, now)
		return err
	})
	return a, err
}

func (s *faultyStore) DeleteAgent(ctx context.Context, instance, agentID string, now time.Time) error {
	return s.fail("DeleteAgent", func() error { return s.Store.DeleteAgent(ctx, instance, agentID, now) })
}

// insist repeats a call until it is not UNAVAILABLE, and says how often that was.
func insist(t *testing.T, call func() error) (unavailable int, err error) {
	t.Helper()
	for range 10 {
		err = call()
		if rpcerr.Code(err) != codes.Unavailable {
			return unavailable, err
		}
		_, ok := rpcerr.RetryAfter(err)
		require.True(t, ok)
		unavailable++
	}
	return unavailable, err
}

// Whatever call of the store fails, before or after it took effect, the caller is told to come again, and a repeated create makes one
// agent.
func TestStoreFaults(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after=%v", after), func(t *testing.T) {
			testkit.EachEngine(t, store.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) { faults(t, db, after) })
		})
	}
}

func faults(t *testing.T, db *sqldb.DB, after bool) {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	s := &faultyStore{Store: store.New(db), after: after, failed: make(map[string]bool)}
	r := registry.New(s, c, id.NewSource(c, nil), pagetoken.New(make([]byte, pagetoken.KeySize), c), func(string, string) {})

	var created *agentv1.Agent
	n, err := insist(t, func() (err error) {
		created, err = r.Create(t.Context(), &agentv1.CreateAgentRequest{
			Instance: "acme", Agent: &agentv1.Agent{Definition: structpb.NewStringValue(eco)},
		}, &idempotency.Key{Instance: "acme", Scope: "create", Key: "key"})
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, 1, created.GetAssistantId())

	var list []*agentv1.Agent
	n, err = insist(t, func() (err error) {
		list, _, err = r.List(t.Context(), &agentv1.ListAgentsRequest{Instance: "acme"})
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Len(t, list, 1)

	var got *agentv1.Agent
	n, err = insist(t, func() (err error) {
		got, err = r.Get(t.Context(), "acme", created.GetId())
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 2, n, "reading the agent and reading its definition")
	require.True(t, proto.Equal(created, got))

	n, err = insist(t, func() (err error) {
		got, err = r.Update(t.Context(), &agentv1.UpdateAgentRequest{
			Instance: "acme", Id: created.GetId(), Agent: &agentv1.Agent{DisplayName: "Novo"},
		})
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "Novo", got.GetDisplayName())

	n, err = insist(t, func() error { return r.Delete(t.Context(), "acme", created.GetId()) })
	require.Equal(t, 1, n)
	if after {
		require.Equal(t, "AGENT_NOT_FOUND", rpcerr.Reason(err), "it is gone")
	} else {
		require.NoError(t, err)
	}
	_, err = r.Get(t.Context(), "acme", created.GetId())
	require.Equal(t, "AGENT_NOT_FOUND", rpcerr.Reason(err))
}

package registry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/registry"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func (s *faultyStore) ListVersions(
	ctx context.Context, instance, agentID string, before int64, limit int,
) (v []store.Published, err error) {
	err = s.fail("ListVersions", func() error {
		v, err = s.Store.ListVersions(ctx, instance, agentID, before, limit)
		return err
	})
	return v, err
}

func (s *faultyStore) Version(ctx context.Context, instance, agentID string, number int32) (v store.Version, at time.Time, err error) {
	err = s.fail("Version", func() error {
		v, at, err = s.Store.Version(ctx, instance, agentID, number)
		return err
	})
	return v, at, err
}

// Whatever call of the store fails, before or after it took effect, a repeated rollback makes one version.
func TestRollbackIsMadeOnce(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after=%v", after), func(t *testing.T) {
			testkit.EachEngine(t, store.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) { rollback(t, db, after) })
		})
	}
}

func rollback(t *testing.T, db *sqldb.DB, after bool) {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	changed := 0
	build := func(s registry.Store) *registry.Registry {
		return registry.New(s, c, id.NewSource(c, nil), pagetoken.New(make([]byte, pagetoken.KeySize), c), func(string, string) { changed++ })
	}
	right := build(store.New(db))
	created, err := right.Create(t.Context(), &agentv1.CreateAgentRequest{
		Instance: "acme", Agent: &agentv1.Agent{Definition: structpb.NewStringValue(eco)},
	}, nil)
	require.NoError(t, err)
	_, err = right.Update(t.Context(), &agentv1.UpdateAgentRequest{
		Instance: "acme", Id: created.GetId(), Agent: &agentv1.Agent{Definition: structpb.NewStringValue(`{"displayName":"Mudo"}`)},
	})
	require.NoError(t, err)

	faulty := build(&faultyStore{Store: store.New(db), after: after, failed: make(map[string]bool)})
	changed = 0
	var got *agentv1.Agent
	n, err := insist(t, func() (err error) {
		got, err = faulty.Rollback(t.Context(), "acme", created.GetId(), 1)
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 4, n, "reading the agent, the version, writing, and reading the definition")
	require.EqualValues(t, 3, got.GetVersion())
	require.Equal(t, "Eco", got.GetDisplayName())
	require.Positive(t, changed)
	versions, _, err := right.Versions(t.Context(), &agentv1.ListAgentVersionsRequest{Instance: "acme", Id: created.GetId()})
	require.NoError(t, err)
	require.Len(t, versions, 3)

	n, err = insist(t, func() error {
		_, _, err := faulty.Versions(t.Context(), &agentv1.ListAgentVersionsRequest{Instance: "acme", Id: created.GetId()})
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// A version that this Prosa does not run, because it has become stricter since, is not gone back to.
func TestRollbackToWhatDoesNotRun(t *testing.T) {
	testkit.EachEngine(t, store.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) {
		c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		r := registry.New(store.New(db), c, id.NewSource(c, nil), pagetoken.New(make([]byte, pagetoken.KeySize), c), func(string, string) {})
		created, err := r.Create(t.Context(), &agentv1.CreateAgentRequest{
			Instance: "acme", Agent: &agentv1.Agent{Definition: structpb.NewStringValue(eco)},
		}, nil)
		require.NoError(t, err)
		_, err = r.Update(t.Context(), &agentv1.UpdateAgentRequest{
			Instance: "acme", Id: created.GetId(), Agent: &agentv1.Agent{Definition: structpb.NewStringValue(`{"displayName":"Mudo"}`)},
		})
		require.NoError(t, err)
		// A serialized AgentDefinition whose field 5, the fallback, is a node that it does not have.
		broken := []byte{0x2a, 4, 'g', 'o', 'n', 'e'}
		_, err = db.Exec1(t.Context(), `UPDATE agent_version SET definition = $1 WHERE instance = 'acme' AND version = 1`, broken)
		require.NoError(t, err)
		_, err = r.Rollback(t.Context(), "acme", created.GetId(), 1)
		require.Equal(t, codes.InvalidArgument, rpcerr.Code(err))
		require.Equal(t, "AGENT_DEFINITION_INVALID", rpcerr.Reason(err))
	})
}

package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

func agentIsKeptAsGiven(t *testing.T, f *fixture) {
	v := store.Version{
		Format: store.FormatJSON, Source: []byte("{\"a\":\"\\u0000 açaí 🍇\"}\x00"), Definition: []byte{0, 1, 0xff},
		DisplayName: "Da definição", Description: "Descrição",
	}
	created, err := f.tryAgent(t.Context(), store.Agent{
		Instance: "acme", ID: "a1", DisplayName: "Loja “Açaí” 🍇", Description: "Linha 1\nLinha 2", CreateTime: start,
	}, v)
	require.NoError(t, err)
	want := &store.Agent{
		Instance: "acme", ID: "a1", AssistantID: 1, DisplayName: "Loja “Açaí” 🍇", Description: "Linha 1\nLinha 2",
		DefinitionDisplayName: "Da definição", DefinitionDescription: "Descrição", Version: 1, CreateTime: start, UpdateTime: start,
	}
	require.Equal(t, want, created)
	found, err := f.store.Agent(t.Context(), "acme", "a1")
	require.NoError(t, err)
	require.Equal(t, want, found)

	format, source, err := f.store.Source(t.Context(), "acme", "a1", 1)
	require.NoError(t, err)
	require.Equal(t, v.Format, format)
	require.Equal(t, v.Source, source)
	definition, err := f.store.Definition(t.Context(), "acme", "a1", 1)
	require.NoError(t, err)
	require.Equal(t, v.Definition, definition)

	_, _, err = f.store.Source(t.Context(), "acme", "a1", 2)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = f.store.Definition(t.Context(), "acme", "a1", 2)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func agentNumbersAreNeverUsedAgain(t *testing.T, f *fixture) {
	require.EqualValues(t, 1, f.createAgent(t, "acme", "a1").AssistantID)
	require.EqualValues(t, 2, f.createAgent(t, "acme", "a2").AssistantID)
	require.EqualValues(t, 1, f.createAgent(t, "other", "a1").AssistantID)
	require.NoError(t, f.store.DeleteAgent(t.Context(), "acme", "a2", start))
	require.EqualValues(t, 3, f.createAgent(t, "acme", "a3").AssistantID)
}

func agentsAreListedOldestFirst(t *testing.T, f *fixture) {
	for _, id := range []string{"c", "a", "b", "d"} {
		f.createAgent(t, "acme", id)
	}
	f.createAgent(t, "other", "e")
	require.NoError(t, f.store.DeleteAgent(t.Context(), "acme", "b", start))
	require.Equal(t, []string{"c", "a", "d"}, f.list(t, "acme", 0, 10))
	require.Equal(t, []string{"c", "a"}, f.list(t, "acme", 0, 2))
	require.Equal(t, []string{"d"}, f.list(t, "acme", 2, 2))
	require.Empty(t, f.list(t, "acme", 4, 2))
	require.Empty(t, f.list(t, "nobody", 0, 2))
}

func (f *fixture) list(t *testing.T, instance string, after int64, limit int) []string {
	t.Helper()
	agents, err := f.store.ListAgents(t.Context(), instance, after, limit)
	require.NoError(t, err)
	var ids []string
	for _, a := range agents {
		require.Equal(t, instance, a.Instance)
		ids = append(ids, a.ID)
	}
	return ids
}

func agentsStayInsideTheirInstance(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	name := "x"
	_, err := f.store.Agent(t.Context(), "other", "a1")
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = f.store.UpdateAgent(t.Context(), "other", "a1", store.AgentChange{DisplayName: &name}, start)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.ErrorIs(t, f.store.DeleteAgent(t.Context(), "other", "a1", start), store.ErrNotFound)
	_, _, err = f.store.Source(t.Context(), "other", "a1", 1)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = f.store.Definition(t.Context(), "other", "a1", 1)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = f.store.Position(t.Context(), lane("other", "a1"), "m1")
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = f.store.Agent(t.Context(), "ACME", "a1")
	require.ErrorIs(t, err, store.ErrNotFound, "names are compared with their case")
}

func updateTouchesNamedFieldsOnly(t *testing.T, f *fixture) {
	created := f.createAgent(t, "acme", "a1")
	require.Equal(t, "Definição 1", created.Name())
	require.Equal(t, "Descrição 1", created.About())
	later := start.Add(time.Second)
	name, empty := "Novo", ""

	updated, err := f.store.UpdateAgent(t.Context(), "acme", "a1", store.AgentChange{DisplayName: &name}, later)
	require.NoError(t, err)
	want := *created
	want.DisplayName, want.UpdateTime = name, later
	require.Equal(t, &want, updated)
	require.Equal(t, "Novo", updated.Name())

	updated, err = f.store.UpdateAgent(t.Context(), "acme", "a1", store.AgentChange{DisplayName: &empty, Description: &name}, later)
	require.NoError(t, err)
	require.Equal(t, "Definição 1", updated.Name(), "an empty name goes back to the definition's")
	require.Equal(t, "Novo", updated.About())

	found, err := f.store.Agent(t.Context(), "acme", "a1")
	require.NoError(t, err)
	require.Equal(t, updated, found)
}

func publishMakesNewVersions(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	second := version("2")
	updated, err := f.store.UpdateAgent(t.Context(), "acme", "a1", store.AgentChange{Publish: &second}, start.Add(time.Second))
	require.NoError(t, err)
	require.EqualValues(t, 2, updated.Version)
	require.Equal(t, "Definição 2", updated.Name())
	require.Equal(t, "Descrição 2", updated.About())
	for number, want := range map[int32]string{1: "source 1", 2: "source 2"} {
		_, source, err := f.store.Source(t.Context(), "acme", "a1", number)
		require.NoError(t, err)
		require.Equal(t, want, string(source))
	}
}

func concurrentPublicationsAreApart(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	const writers = 8
	numbers := make([]int32, writers)
	errs := make([]error, writers)
	var done sync.WaitGroup
	for i := range writers {
		done.Go(func() {
			v := version("n")
			a, err := f.store.UpdateAgent(t.Context(), "acme", "a1", store.AgentChange{Publish: &v}, start)
			if errs[i] = err; err == nil {
				numbers[i] = a.Version
			}
		})
	}
	done.Wait()
	require.NoError(t, errors.Join(errs...))
	slices.Sort(numbers)
	for i, n := range numbers {
		require.EqualValues(t, i+2, n)
	}
}

func deletedAgentIsGone(t *testing.T, f *fixture) {
	f.createAgent(t, "acme", "a1")
	require.NoError(t, f.store.DeleteAgent(t.Context(), "acme", "a1", start))
	require.ErrorIs(t, f.store.DeleteAgent(t.Context(), "acme", "a1", start), store.ErrNotFound)
	_, err := f.store.Agent(t.Context(), "acme", "a1")
	require.ErrorIs(t, err, store.ErrNotFound)
	name := "x"
	_, err = f.store.UpdateAgent(t.Context(), "acme", "a1", store.AgentChange{DisplayName: &name}, start)
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = f.store.Definition(t.Context(), "acme", "a1", 1)
	require.NoError(t, err, "the versions are kept")
	position, err := f.store.Position(t.Context(), lane("acme", "a1"), "m1")
	require.NoError(t, err)
	require.True(t, position.Deleted)
}

func failedCreateLeavesNothing(t *testing.T, f *fixture) {
	failure := errors.New("failure")
	err := f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
		if _, err := f.store.CreateAgent(ctx, tx, store.Agent{Instance: "acme", ID: "a1", CreateTime: start}, version("1")); err != nil {
			return err
		}
		return failure
	})
	require.ErrorIs(t, err, failure)
	require.Empty(t, f.list(t, "acme", 0, 10))
	require.EqualValues(t, 1, f.createAgent(t, "acme", "a2").AssistantID)
}

package program_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// definitions gives the smallest definition for every version, and counts how often it is asked.
type definitions struct {
	asked atomic.Int64
	gate  chan struct{} // nil: open
	give  func() ([]byte, error)
}

func newDefinitions(t *testing.T) *definitions {
	t.Helper()
	raw, err := proto.Marshal(&agentv1.AgentDefinition{
		DisplayName: "Eco", Fallback: "eco",
		Nodes: map[string]*agentv1.Node{"eco": {Say: []*agentv1.Say{{Content: &agentv1.Say_Text{Text: "eco"}}}}},
	})
	require.NoError(t, err)
	return &definitions{give: func() ([]byte, error) { return raw, nil }}
}

func (d *definitions) Definition(ctx context.Context, _, _ string, _ int32) ([]byte, error) {
	d.asked.Add(1)
	if d.gate != nil {
		select {
		case <-d.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return d.give()
}

func get(t *testing.T, c *program.Cache, version int32) *flow.Program {
	t.Helper()
	p, err := c.Get(t.Context(), "acme", "a1", version)
	require.NoError(t, err)
	return p
}

func TestCompiledOnce(t *testing.T) {
	d := newDefinitions(t)
	c := program.NewCache(d, 2, 1<<20)
	first := get(t, c, 1)
	require.Same(t, first, get(t, c, 1))
	require.EqualValues(t, 1, d.asked.Load())
	for i, k := range [][2]string{{"other", "a1"}, {"acme", "a2"}} {
		p, err := c.Get(t.Context(), k[0], k[1], 1)
		require.NoError(t, err)
		require.NotSame(t, first, p)
		require.EqualValues(t, i+2, d.asked.Load())
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	d := newDefinitions(t)
	c := program.NewCache(d, 2, 1<<20)
	first := get(t, c, 1)
	get(t, c, 2)
	require.Same(t, first, get(t, c, 1))
	get(t, c, 3) // 2 goes
	require.EqualValues(t, 3, d.asked.Load())
	require.Same(t, first, get(t, c, 1))
	require.EqualValues(t, 3, d.asked.Load())
	get(t, c, 2)
	require.EqualValues(t, 4, d.asked.Load())
}

func TestCallersShareALoad(t *testing.T) {
	d := newDefinitions(t)
	d.gate = make(chan struct{})
	c := program.NewCache(d, 2, 1<<20)
	const callers = 16
	programs := make([]*flow.Program, callers)
	errs := make([]error, callers)
	var ready, done sync.WaitGroup
	ready.Add(callers)
	for i := range callers {
		done.Go(func() {
			ready.Done()
			programs[i], errs[i] = c.Get(t.Context(), "acme", "a1", 1)
		})
	}
	ready.Wait()
	close(d.gate)
	done.Wait()
	require.NoError(t, errors.Join(errs...))
	for _, p := range programs {
		require.Same(t, programs[0], p)
	}
	require.EqualValues(t, 1, d.asked.Load())
}

func TestCallerThatLeavesSpoilsNothing(t *testing.T) {
	d := newDefinitions(t)
	d.gate = make(chan struct{})
	c := program.NewCache(d, 2, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Get(ctx, "acme", "a1", 1)
	require.ErrorIs(t, err, context.Canceled)
	close(d.gate)
	get(t, c, 1)
}

func TestFailuresAreNotKept(t *testing.T) {
	for name, give := range map[string]func() ([]byte, error){
		"store":     func() ([]byte, error) { return nil, errors.New("store fails") },
		"bytes":     func() ([]byte, error) { return []byte{0xff}, nil },
		"panic":     func() ([]byte, error) { panic("x") },
		"no target": func() ([]byte, error) { return proto.Marshal(&agentv1.AgentDefinition{Fallback: "nowhere"}) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDefinitions(t)
			good := d.give
			d.give = give
			c := program.NewCache(d, 2, 1<<20)
			_, err := c.Get(t.Context(), "acme", "a1", 1)
			require.Error(t, err)
			d.give = good
			get(t, c, 1)
		})
	}
}

func TestNeverMoreThanTheLimit(t *testing.T) {
	d := newDefinitions(t)
	c := program.NewCache(d, 3, 1<<20)
	for round := range 2 {
		for v := range int32(10) {
			get(t, c, v)
		}
		require.EqualValues(t, 10*(round+1), d.asked.Load(), "round "+strconv.Itoa(round))
	}
}

// What an index takes counts too: with room for two of three, the one that was not used longest goes, and one that alone is too large stays
// until the next comes.
func TestIndexesAreBounded(t *testing.T) {
	raw, err := proto.Marshal(&agentv1.AgentDefinition{
		DisplayName: "A", Answers: []*agentv1.CuratedAnswer{{Questions: []string{"que horas abre"}, Text: "Às 9h."}},
	})
	require.NoError(t, err)
	d := &definitions{give: func() ([]byte, error) { return raw, nil }}
	size := get(t, program.NewCache(d, 10, 1), 1).Size()
	require.Positive(t, size)

	d = &definitions{give: func() ([]byte, error) { return raw, nil }}
	c := program.NewCache(d, 10, 2*size)
	first, second := get(t, c, 1), get(t, c, 2)
	require.Same(t, first, get(t, c, 1))
	get(t, c, 3)
	require.Same(t, first, get(t, c, 1))
	require.EqualValues(t, 3, d.asked.Load())
	require.NotSame(t, second, get(t, c, 2))
	require.EqualValues(t, 4, d.asked.Load())

	c = program.NewCache(d, 10, size-1)
	require.Same(t, get(t, c, 1), get(t, c, 1))
	require.NotSame(t, get(t, c, 2), get(t, c, 1))
}

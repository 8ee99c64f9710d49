package turn_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
)

// outside counts what leaves the process.
type outside struct{ calls, asked, remote int }

func (o *outside) Call(context.Context, *flow.CallRequest) flow.CallAnswer {
	o.calls++
	return flow.CallAnswer{Outcome: flow.CallOK, Status: 200}
}

func (o *outside) Engine(p *flow.Program) engine.Engine {
	return remoteEngine{counted: o, flow: p}
}

type remoteEngine struct {
	counted *outside
	flow    engine.Engine
}

func (e remoteEngine) Run(ctx context.Context, t flow.Turn, sink engine.Sink) (*flow.Result, error) {
	e.counted.remote++
	return e.flow.Run(ctx, t, sink)
}

// Before its message is on disk a turn opens nothing, asks nobody, and stores nothing, whatever kind of agent it has; and does all of it
// then, or nothing when the message is not taken.
func TestNothingLeavesBeforeTheMessageIsOnDisk(t *testing.T) {
	calling := echoing()
	calling.Nodes["eco"].Call = &agentv1.Call{Method: "GET", Url: "https://example.com/"}
	remote := echoing()
	remote.Remote = &agentv1.Remote{Target: "example.com:443"}
	for _, test := range []struct {
		name       string
		definition *agentv1.AgentDefinition
		want       outside
	}{
		{"flow", echoing(), outside{}},
		{"model", modelled(), outside{asked: 1}},
		{"call", calling, outside{calls: 1}},
		{"remote", remote, outside{remote: 1}},
	} {
		for _, opens := range []bool{true, false} {
			for _, taken := range []bool{true, false} {
				name := test.name + map[bool]string{true: " opens", false: " goes on"}[opens] + map[bool]string{true: "", false: " withdrawn"}[taken]
				t.Run(name, func(t *testing.T) {
					eachEngine(t, func(t *testing.T, f *fixture) {
						f.createAgent(t, "acme", "m1", test.definition)
						before, request := 0, chatting(firstChat, "oi")
						request.AgentId = "m1"
						var seen outside
						f.deps.Calls, f.deps.Remotes = &seen, &seen
						f.ask(func(_ context.Context, text func(string)) error { seen.asked++; text("oi"); return nil })
						if !opens {
							f.show(t, request, newWatcher())
							before, seen = 1, outside{}
							request.MessageId = secondChat
						}
						counted := prometheus.NewRegistry()
						var err error
						f.runner.Metrics, err = turn.NewMetrics(counted)
						require.NoError(t, err)

						ctx, withdraw := context.WithCancelCause(t.Context())
						defer withdraw(nil)
						w := newWatcher()
						w.barrier = &barrier{reached: make(chan struct{}), known: make(chan error)}
						ran := make(chan error, 1)
						go func() {
							_, err := f.runner.Run(ctx, request, w)
							ran <- err
						}()
						<-w.barrier.reached
						require.Zero(t, seen)
						require.Equal(t, before, f.contacts.opened())
						require.Equal(t, before, f.count(t, "SELECT count(*) FROM turn"))
						require.Equal(t, before, f.committed)

						verdict := error(nil)
						if !taken {
							verdict = turn.ErrWithdrawn
							withdraw(verdict)
						}
						for w.barrier.known <- verdict; ; {
							select {
							case <-w.barrier.reached:
								w.barrier.known <- verdict
								continue
							case err = <-ran:
							}
							break
						}
						if taken {
							require.NoError(t, err)
							require.Equal(t, test.want, seen)
							require.Equal(t, before+1, f.count(t, "SELECT count(*) FROM turn"))
							require.EqualValues(t, 1, turnsCounted(t, counted))
							return
						}
						require.Error(t, err)
						require.Zero(t, seen)
						require.Equal(t, before, f.contacts.opened())
						require.Equal(t, before, f.count(t, "SELECT count(*) FROM turn"))
						require.Zero(t, turnsCounted(t, counted))
					})
				})
			}
		}
	}
}

// turnsCounted is how many turns a registry has counted, whatever became of them.
func turnsCounted(t testing.TB, counted *prometheus.Registry) (all float64) {
	t.Helper()
	families, err := counted.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "prosa_agent_turns_total" {
			for _, one := range family.GetMetric() {
				all += one.GetCounter().GetValue()
			}
		}
	}
	return all
}

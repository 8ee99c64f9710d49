package flow_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// answered is what comes of a call: an outcome, or with status 200 a value.
type answered struct {
	Outcome flow.CallOutcome `yaml:"outcome"`
	JSON    any              `yaml:"json"`
}

// answering answers calls in order.
type answering struct {
	answers map[string][]answered
	made    map[string]int
	got     []flow.CallRequest
}

func (a *answering) Call(_ context.Context, r *flow.CallRequest) flow.CallAnswer {
	a.got = append(a.got, *r)
	if a.made == nil {
		a.made = make(map[string]int)
	}
	a.made[r.Node]++
	written := a.answers[r.Node]
	if len(written) < a.made[r.Node] {
		return flow.CallAnswer{Outcome: flow.CallNetwork}
	}
	answer := written[a.made[r.Node]-1]
	if answer.Outcome != "" {
		return flow.CallAnswer{Outcome: answer.Outcome}
	}
	value, err := structpb.NewValue(answer.JSON)
	if err != nil {
		panic(err)
	}
	return flow.CallAnswer{Outcome: flow.CallOK, Status: 200, Value: value}
}

// showCalled writes a call in a line.
func showCalled(c *flow.Called) string {
	shown := c.Node + " " + string(c.Outcome)
	if c.Request != nil {
		shown += ": " + strings.TrimSpace(c.Request.Method+" "+c.Request.URL+" "+c.Request.Body)
	}
	return shown
}

func runCalls(t *testing.T, source string, caller flow.Caller) *flow.Result {
	t.Helper()
	result, err := compile(t, source).Run(t.Context(), flow.Turn{
		Opening: true, Text: "oi", Now: now, NewID: func() string { return strings.Repeat("0", 24) },
		InstanceSlug: "acme", AgentID: "a1", ID: "m1", Caller: caller,
	}, flow.Discard)
	require.NoError(t, err)
	return result
}

func TestCallSaysForWhomItIs(t *testing.T) {
	caller := &answering{answers: map[string][]answered{"a": {{JSON: "1"}}, "b": {{JSON: "3"}}, "c": {{JSON: "2"}}}}
	result := runCalls(t, `
displayName: A
fallback: a
nodes:
  a:
    call: {url: "https://a.example/", save: context.x, timeout: 3s, headers: {Authorization: "Bearer {{ secret.erp }}"}}
    branch: [{when: "context.x == '1'", goto: b}]
  b: {call: {url: "https://b.example/", method: POST}, goto: c}
  c: {call: {url: "https://c.example/", save: context.x}}
`, caller)
	require.Equal(t, "2", result.Context["x"].GetStringValue())
	require.Len(t, caller.got, 3)
	for i, node := range []string{"a", "b", "c"} {
		got := caller.got[i]
		require.Equal(t, node, got.Node)
		require.Equal(t, i+1, got.Number)
		require.Equal(t, "acme a1 m1", got.Instance+" "+got.AgentID+" "+got.TurnID)
	}
	require.Equal(t, 3*time.Second, caller.got[0].Timeout)
	require.Equal(t, 10*time.Second, caller.got[1].Timeout)
	require.Equal(t, "erp", caller.got[0].Headers[0].Value[1].Secret)
}

func TestCallsOfATurnAreBounded(t *testing.T) {
	for calls, stopped := range map[int]string{flow.MaxCalls: "", flow.MaxCalls + 1: "more than 10 calls in one turn"} {
		var source strings.Builder
		source.WriteString("displayName: A\nfallback: n1\nnodes:\n")
		for i := 1; i <= calls; i++ {
			fmt.Fprintf(&source, "  n%d: {call: {url: \"https://a.example/\", onError: end}, goto: n%d}\n", i, i+1)
		}
		fmt.Fprintf(&source, "  n%d: {}\n  end: {}\n", calls+1)
		caller := &answering{answers: make(map[string][]answered)}
		for i := 1; i <= calls; i++ {
			caller.answers[fmt.Sprintf("n%d", i)] = []answered{{JSON: 1.0}}
		}
		result := runCalls(t, source.String(), caller)
		require.Equal(t, stopped, result.Stopped)
		require.Len(t, caller.got, flow.MaxCalls)
	}
}

// What does not fit into what a conversation keeps is a failure, and what was there is gone.
func TestAnswersCountAgainstWhatIsKept(t *testing.T) {
	const source = `
displayName: A
fallback: a
nodes:
  a: {call: {url: "https://a.example/", save: context.x}, goto: b}
  b: {call: {url: "https://a.example/", save: context.x, onError: failed}}
  failed: {say: [{text: "{{ has(context.x) }}"}]}
`
	caller := &answering{answers: map[string][]answered{"a": {{JSON: "x"}}, "b": {{JSON: strings.Repeat("x", flow.MaxKept-1)}}}}
	result := runCalls(t, source, caller)
	require.Empty(t, result.Messages)
	require.Len(t, result.Context["x"].GetStringValue(), flow.MaxKept-1)

	caller = &answering{answers: map[string][]answered{"a": {{JSON: "x"}}, "b": {{JSON: strings.Repeat("x", flow.MaxKept)}}}}
	result = runCalls(t, source, caller)
	require.Equal(t, "false", result.Messages[0].GetText().GetText())
	require.Equal(t, flow.CallTooLarge, result.Calls[1].Outcome)
}

func TestWithoutACallerCallsFail(t *testing.T) {
	result := runCalls(t, `
displayName: A
fallback: a
nodes:
  a: {call: {url: "https://a.example/", onError: failed}}
  failed: {say: [{text: failed}]}
`, nil)
	require.Equal(t, "failed", result.Messages[0].GetText().GetText())
	require.Equal(t, flow.CallUnmade, result.Calls[0].Outcome)
}

// A turn whose context ends during a call has no answer.
func TestTheContextEndsDuringACall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := compile(t, `{displayName: A, fallback: a, nodes: {a: {call: {url: "https://a.example/"}, say: [{text: said}]}}}`).Run(ctx, flow.Turn{
		Opening: true, Text: "oi", Now: now, NewID: func() string { return "" }, Caller: ending(cancel),
	}, flow.Discard)
	require.ErrorIs(t, err, context.Canceled)
}

// ending ends the context in place of an answer.
type ending func()

func (e ending) Call(context.Context, *flow.CallRequest) flow.CallAnswer {
	e()
	return flow.CallAnswer{Outcome: flow.CallNetwork}
}

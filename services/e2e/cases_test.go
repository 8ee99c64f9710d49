package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// binary is prosa as it is now.
var binary string

func TestMain(m *testing.M) { harness.Main(m, &binary) }

// stepWithin is how long a step may take: a slow machine is meant.
const stepWithin = 30 * time.Second

// instances makes a name for each case, so that all can share a process.
var instances atomic.Int64

// TestCases replays every case over REST and gRPC, on both stores.
func TestCases(t *testing.T) {
	cases := loadCases(t)
	eachStore(t, func(t *testing.T, settings map[string]string) {
		prosa := start(t, harness.Spec{Settings: settings})
		client := harness.NewClient(prosa.HTTP)
		t.Cleanup(client.Close)
		conn, err := grpc.NewClient(prosa.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })

		for name, transport := range map[string]transport{"rest": restTransport{client}, "grpc": grpcTransport{conn}} {
			t.Run(name, func(t *testing.T) {
				for _, c := range cases {
					t.Run(c.Name, func(t *testing.T) { runCase(t, client, transport, c) })
				}
			})
		}
	})
}

// start starts prosa for a test and stops it after; what it wrote is shown
// when the test failed.
func start(t *testing.T, spec harness.Spec) *harness.Process {
	t.Helper()
	spec.Binary = binary
	process, err := harness.Start(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		err := process.Stop()
		if t.Failed() {
			t.Logf("prosa wrote:\n%s", process.Output())
		}
		require.NoError(t, err)
	})
	return process
}

// runCase runs one case in an instance of its own.
func runCase(t *testing.T, client *harness.Client, transport transport, c testCase) {
	ctx := t.Context()
	receiver, err := harness.NewReceiver(nil)
	require.NoError(t, err)
	defer receiver.Close()
	definition := c.Agent
	if definition == "" {
		definition = harness.Echo
	}
	setup, err := client.Create(ctx, fmt.Sprintf("case-%d", instances.Add(1)), definition, receiver.URL, c.Test)
	require.NoError(t, err)
	v := values{
		"instance": setup.Instance, "agentId": setup.AgentID, "channelId": setup.ChannelID, "key": setup.Key,
		"rootKey": harness.RootKey, "webhookUrl": receiver.URL,
	}
	delivered := 0
	for i, s := range c.Steps {
		if s.RESTOnly && !transport.hasBody() {
			continue
		}
		where := fmt.Sprintf("step %d", i+1)
		stepCtx, cancel := context.WithTimeout(ctx, stepWithin)
		if s.Send != nil {
			runCall(stepCtx, t, where, transport, s, v)
		}
		if len(s.Deliveries) > 0 {
			require.NoError(t, receiver.WaitCount(stepCtx, delivered+len(s.Deliveries)), where)
			for j, want := range s.Deliveries {
				got := receiver.First()[delivered+j]
				require.Regexp(t, v.bodyPattern(want), string(got.Body), "%s, delivery %d", where, j+1)
				for name, pattern := range s.DeliveryHeaders {
					require.Regexp(t, "^(?:"+v.expand(pattern)+")$", got.Header.Get(name), "%s, delivery %d, header %s", where, j+1, name)
				}
			}
			delivered += len(s.Deliveries)
		}
		cancel()
	}
	require.Len(t, receiver.First(), delivered, "webhooks that no step expects")
}

// runCall makes a step's call until it is answered as it must be: once, or
// again and again when the step says until.
func runCall(ctx context.Context, t *testing.T, where string, transport transport, s step, v values) {
	t.Helper()
	for {
		got, ok := transport.call(ctx, t, *s.Send, v)
		if !ok {
			return
		}
		problem := s.problem(got, transport.hasBody(), v)
		if problem == "" {
			if len(s.Keep) > 0 {
				keep(t, got.body, s.Keep, v)
			}
			return
		}
		if !s.Until || ctx.Err() != nil {
			require.Fail(t, "unexpected answer", "%s: %s\nstatus %d, body %s", where, problem, got.status, got.body)
		}
		select {
		case <-time.After(queryPause):
		case <-ctx.Done():
		}
	}
}

// problem says what is wrong with an answer, empty when nothing is.
func (s step) problem(got answer, withBody bool, v values) string {
	want := s.Status
	if want == 0 {
		want = http.StatusOK
	}
	if got.status != want {
		// What is too large, of another type or by another way for REST has no
		// counterpart in gRPC; such steps say restOnly.
		return fmt.Sprintf("want status %d", want)
	}
	if !withBody {
		return ""
	}
	for name, pattern := range s.Headers {
		if !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(got.header.Get(name)) {
			return fmt.Sprintf("header %s: want %s, got %q", name, pattern, got.header.Get(name))
		}
	}
	if s.Raw != "" && !regexp.MustCompile(v.bodyPattern(s.Raw)).Match(got.body) {
		return "want body " + s.Raw
	}
	if s.Answer != nil {
		var value any
		if err := json.Unmarshal(got.body, &value); err != nil {
			return "the body is not JSON"
		}
		return difference("body", v.expandAll(s.Answer), value)
	}
	return ""
}

// keep stores values of an answer for later steps.
func keep(t *testing.T, body []byte, wanted map[string]string, v values) {
	t.Helper()
	var object map[string]any
	require.NoError(t, json.Unmarshal(body, &object))
	if len(object) == 1 { // an RPC answers with the resource inside
		for inner := range maps.Values(object) {
			if nested, ok := inner.(map[string]any); ok {
				object = nested
			}
		}
	}
	for name, key := range wanted {
		from := object
		if list, inner, ok := strings.Cut(key, "."); ok { // of the first of a list
			items, isList := object[list].([]any)
			require.True(t, isList && len(items) > 0, "%s has no item", list)
			from, key = items[0].(map[string]any), inner
		}
		require.Contains(t, from, key)
		v[name] = fmt.Sprint(from[key])
	}
}

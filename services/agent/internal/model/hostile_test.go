package model_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/model"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/testkit/modeltest"
)

// TestHostile has all that a model must not do. Each ends in a named fault, and none is asked again.
func TestHostile(t *testing.T) {
	for name, test := range map[string]struct {
		reply  modeltest.Reply
		reason string
	}{
		"bytes that are no text":       {modeltest.Raw(events("a\xff")), "invalid_utf8"},
		"half a character at the end":  {modeltest.Raw(events("a\xc3")), "invalid_utf8"},
		"a character that never ends":  {modeltest.Raw(events("\xc3", "a")), "invalid_utf8"},
		"a lone half":                  {modeltest.Raw(events(`\ud83d`, "a")), "invalid_utf8"},
		"the second half first":        {modeltest.Raw(events(`\ude00`)), "invalid_utf8"},
		"a token of ten megabytes":     {modeltest.Raw(events(strings.Repeat("a", 10<<20))), "too_large"},
		"a line that does not end":     {modeltest.Raw("data: " + strings.Repeat("a", 1<<20)), "too_large"},
		"an event of many lines":       {modeltest.Raw(strings.Repeat("data: {\n", 64<<10)), "too_large"},
		"comments for ever":            {modeltest.Raw(strings.Repeat(": keep-alive\n\n", 1<<20)), "too_large"},
		"a stream without an end":      {modeltest.Endless("a"), "too_many_tokens"},
		"a tool's name without an end": {modeltest.Uses("", modeltest.Call{Name: strings.Repeat("a", 200)}), "too_large"},
		"arguments without an end": {
			modeltest.Uses("", modeltest.Call{Name: "a", Arguments: []string{strings.Repeat("a", 20<<10), strings.Repeat("a", 20<<10)}}), "too_large",
		},
		"no JSON":             {modeltest.Raw("data: <html>\n\n"), "malformed"},
		"another protocol":    {modeltest.Raw("data: [1,2]\n\n"), "malformed"},
		"a page":              {modeltest.Page(200, "text/html", "<html>"), "not_an_event_stream"},
		"a whole answer":      {modeltest.Page(200, "application/json", `{"choices":[]}`), "not_an_event_stream"},
		"no content type":     {modeltest.Page(200, "", "data: "), "not_an_event_stream"},
		"the key is wrong":    {modeltest.Page(401, "application/json", `{"error":{"message":"Incorrect API key provided: sk-canary"}}`), "status_401"},
		"filtered":            {func(s *modeltest.Stream) { s.End("content_filter") }, "content_filter"},
		"a page without end":  {modeltest.Page(404, "text/html", strings.Repeat("a", 10<<20)), "status_404"},
		"a header of 1 MiB":   {modeltest.Status(200, "X-A", strings.Repeat("a", 1<<20)), "unreachable"},
		"nine tools at once":  {modeltest.Raw(`data: {"choices":[{"index":0,"delta":{"tool_calls":[` + nine() + `]}}]}` + "\n\n"), "too_many_uses"},
		"text without an end": {longText, "too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, test.reply)
			done := f.later(t)
			if test.reason == "unreachable" {
				f.clock.AwaitTimers(3)
				f.clock.Advance(time.Second)
				f.clock.AwaitTimers(3)
				f.clock.Advance(time.Second)
			}
			err := <-done
			requireFault(t, err, test.reason)
			if test.reason != "unreachable" {
				require.Len(t, f.server.Requests(), 1)
			}
		})
	}
}

// nine are nine uses of tools.
func nine() string {
	var all []string
	for _, c := range "abcdefghi" {
		all = append(all, `{"index":`+string('0'+c-'a')+`,"id":"`+string(c)+`","function":{"name":"x"}}`)
	}
	return strings.Join(all, ",")
}

// longText says more than a model may say at once, in few tokens.
func longText(s *modeltest.Stream) {
	for range 10 {
		s.Token(strings.Repeat("a", 100<<10))
	}
}

func TestRedirectsLeadNowhere(t *testing.T) {
	canary := modeltest.New(t, modeltest.Says("leaked"))
	f := newFixture(t, modeltest.Redirects(canary.URL+"/chat/completions"))
	f.prompt.Settings.ApiKeySecret = "openai"
	_, err := f.ask(t)
	requireFault(t, err, "status_307")
	require.Empty(t, canary.Requests())
}

func TestInnerAddressesAreNotCalled(t *testing.T) {
	f := newFixture(t, modeltest.Says("leaked"))
	for _, host := range []string{"127.0.0.2", "[::1]", "169.254.169.254"} {
		f.prompt.Settings = &agentv1.Model{BaseUrl: "http://" + host + ":1/v1", Name: "m1"}
		_, err := f.ask(t)
		requireFault(t, err, "address_refused")
	}
}

// endless is a line that never ends, of which nothing is held.
type endless struct{ read int }

func (e *endless) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: e}, nil
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	e.read += len(p)
	return len(p), nil
}

func (*endless) Close() error { return nil }

func TestMemoryIsBounded(t *testing.T) {
	metrics, err := model.NewMetrics(nil)
	require.NoError(t, err)
	line := &endless{}
	client := model.NewClient(model.Deps{HTTP: &http.Client{Transport: line}, Jitter: func() float64 { return 0 }, Clock: clock.NewManual(start), Metrics: metrics})
	prompt := &flow.Prompt{
		Settings: &agentv1.Model{BaseUrl: "https://a.example/v1", Name: "m1"}, Messages: []flow.Utterance{{Text: "oi"}}, MaxTokens: 100_000,
		Deadline: start.Add(time.Minute),
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = client.Ask(t.Context(), "acme", prompt, func(string) {})
	runtime.ReadMemStats(&after)
	requireFault(t, err, "too_large")
	require.Less(t, line.read, 1<<20)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20))
}

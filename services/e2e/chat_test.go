package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
	"github.com/prosa-chat/prosa/services/internal/testkit/modeltest"
)

// chatting is an agent with a model behind its greeting.
const chatting = `
displayName: Conversa
fallback: none
nodes: {none: {say: [{text: fora do ar}]}}
model: {baseUrl: "%s", name: m}
`

// chatClient talks in conversations.
type chatClient struct {
	http  *http.Client
	base  string
	setup harness.Setup
}

// newChat starts an agent whose model is the given one.
func newChat(ctx context.Context, t *testing.T, prosa *harness.Process, definition string) *chatClient {
	t.Helper()
	client := clientOf(t, prosa)
	setup, err := client.Create(ctx, fmt.Sprintf("chat-%d", instances.Add(1)), definition, "https://example.com/", false)
	require.NoError(t, err)
	c := &chatClient{base: prosa.HTTP, setup: setup, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// do makes a call, again while a process that has just started asks to wait.
func (c *chatClient) do(ctx context.Context, method, path, body string, header map[string]string) (*http.Response, error) {
	for {
		request, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+c.setup.Key)
		request.Header.Set("Content-Type", "application/json")
		for name, value := range header {
			request.Header.Set(name, value)
		}
		response, err := c.http.Do(request)
		if err != nil || response.StatusCode != http.StatusTooManyRequests || response.Header.Get("RateLimit") == "" {
			return response, err
		}
		_ = response.Body.Close()
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin makes a conversation.
func (c *chatClient) begin(ctx context.Context, t *testing.T) string {
	t.Helper()
	response, err := c.do(ctx, http.MethodPost, "/conversation/create/"+c.setup.AgentID, "", nil)
	require.NoError(t, err)
	defer response.Body.Close()
	var created struct{ ID string }
	require.NoError(t, json.NewDecoder(response.Body).Decode(&created))
	require.Len(t, created.ID, 24)
	return created.ID
}

// sse is one server-sent event, as it came.
type sse struct{ id, event, data string }

// eventStream is an open stream.
type eventStream struct {
	message string
	body    io.ReadCloser
	lines   *bufio.Reader
}

// next reads an event. Errors: io.EOF behind a stream that ended, others when it was cut.
func (s *eventStream) next() (e sse, err error) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			e.data = value
		case "":
			if value == "" && e.event != "" {
				return e, nil
			}
		}
	}
}

// rest reads what is left, and gives what the stream ended with unless it ended in order.
func (s *eventStream) rest() (all []sse, err error) {
	defer s.body.Close()
	for {
		e, err := s.next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
}

// open opens a stream: a new one, or one that is gone on with.
func (c *chatClient) open(ctx context.Context, conversation, text, message, last string) (*eventStream, error) {
	method, path, body, header := http.MethodPost, "/conversation/stream/"+conversation, `{"text":"`+text+`"}`, map[string]string{"Accept": "text/event-stream"}
	if message != "" {
		method, path, body, header = http.MethodGet, path+"/"+message, "", map[string]string{"Last-Event-ID": last}
	}
	response, err := c.do(ctx, method, path, body, header)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		content, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		return nil, fmt.Errorf("status %d: %s", response.StatusCode, content)
	}
	return &eventStream{message: response.Header.Get("Prosa-Message-Id"), body: response.Body, lines: bufio.NewReader(response.Body)}, nil
}

// plain gets an answer as plain text.
func (c *chatClient) plain(ctx context.Context, conversation, text string) (string, error) {
	response, err := c.do(ctx, http.MethodPost, "/conversation/stream/"+conversation, `{"text":"`+text+`"}`, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.StatusCode, content)
	}
	return string(content), err
}

func tokensOf(t *testing.T, events []sse) string {
	t.Helper()
	var all strings.Builder
	for _, e := range events {
		if e.event == "token" {
			var token struct{ Text string }
			require.NoError(t, json.Unmarshal([]byte(e.data), &token))
			all.WriteString(token.Text)
		}
	}
	return all.String()
}

// spoken are the tokens of a model.
func spoken(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("peça %d ", i)
	}
	all[n-1] = "fim"
	return all
}

// TestStreamOverCutsAndKills streams a model's answer of 200 tokens: the plain
// text, the events, the events cut behind each and gone on with, also after a
// restart, and while Prosa is killed in the middle of it.
func TestStreamOverCutsAndKills(t *testing.T) {
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, 2*time.Minute)
		settings["conversations-rate"] = "0"
		all := spoken(200)
		text := strings.Join(all, "")
		model := modeltest.New(t, modeltest.Says(all...))
		prosa := mortal(t, harness.Spec{Settings: settings})
		c := newChat(ctx, t, prosa, fmt.Sprintf(chatting, model.URL))

		got, err := c.plain(ctx, c.begin(ctx, t), "oi")
		require.NoError(t, err)
		require.Equal(t, text, got)

		conversation := c.begin(ctx, t)
		stream, err := c.open(ctx, conversation, "oi", "", "")
		require.NoError(t, err)
		whole, err := stream.rest()
		require.NoError(t, err)
		require.Equal(t, text, tokensOf(t, whole))
		require.Len(t, whole, 202)
		require.Equal(t, "done", whole[201].event)
		cuts := func() {
			for i := range whole {
				again, err := c.open(ctx, conversation, "", stream.message, whole[i].id)
				require.NoError(t, err)
				rest, err := again.rest()
				require.NoError(t, err)
				require.Equal(t, whole[i+1:], slices.Clip(append([]sse{}, rest...)), "cut behind event %d", i)
			}
		}
		cuts()

		// Killed behind the first token, in the middle, and before the last one.
		kills := []int{0, 1, 100, 199}
		if settings["database-url"] != "" {
			kills = []int{100} // each waits until the lease of the dead process has ended
		}
		for _, seen := range kills {
			next := make(chan string)
			model.Script(modeltest.Paced(next))
			conversation := c.begin(ctx, t)
			killed, err := c.open(ctx, conversation, "oi", "", "")
			require.NoError(t, err)
			var before []sse
			for i := range seen {
				next <- all[i]
				e, err := killed.next()
				require.NoError(t, err)
				before = append(before, e)
			}
			prosa.Kill()
			_, err = killed.rest()
			require.Error(t, err, "a cut does not look like an end")
			model.Script(modeltest.Says(all...))
			prosa = revived(t, prosa)
			last := ""
			if seen > 0 {
				last = before[seen-1].id
			}
			resumed, err := c.open(ctx, conversation, "", killed.message, last)
			require.NoError(t, err)
			after, err := resumed.rest()
			require.NoError(t, err)
			before = append(before, after...)
			require.Equal(t, text, tokensOf(t, before), "killed behind %d tokens", seen)
			require.Equal(t, "done", before[len(before)-1].event)
			for i := range 200 {
				require.Equal(t, whole[i].id, before[i].id)
			}
		}
		cuts() // of the first answer, after all that
	})
}

// TestChatOverFaults talks to a model that fails: before its first token the
// flow answers, in the middle the connection is cut; and stops one that goes
// on.
func TestChatOverFaults(t *testing.T) {
	ctx := harness.Within(t, time.Minute)
	model := modeltest.New(t, modeltest.Dies("um ", "dois "))
	prosa := start(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir(), "conversations-rate": "0", "chat-timeout": "1s"}})
	c := newChat(ctx, t, prosa, fmt.Sprintf(chatting, model.URL))

	_, err := c.plain(ctx, c.begin(ctx, t), "oi")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "half an answer never looks whole")
	conversation := c.begin(ctx, t)
	stream, err := c.open(ctx, conversation, "oi", "", "")
	require.NoError(t, err)
	events, err := stream.rest()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, "um dois ", tokensOf(t, events))
	last := events[len(events)-1]
	require.Equal(t, "error", last.event)
	require.Contains(t, last.data, `"reason":"ANSWER_INTERRUPTED"`)
	again, err := c.open(ctx, conversation, "", stream.message, "")
	require.NoError(t, err)
	repeated, err := again.rest()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "nor later")
	require.Equal(t, "um dois ", tokensOf(t, repeated))

	model.Script(modeltest.Status(http.StatusInternalServerError))
	got, err := c.plain(ctx, conversation, "de novo")
	require.NoError(t, err)
	require.Equal(t, "fora do ar", got)

	// One that says a little and then nothing: whole answers time out, the turn
	// goes on, and ends when it is told to.
	model.Script(modeltest.Hangs("era uma ", "vez"))
	response, err := c.do(ctx, http.MethodPost, "/conversation/complete/"+conversation, `{"text":"conte"}`, map[string]string{"Idempotency-Key": "k"})
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusGatewayTimeout, response.StatusCode)
	var stopped struct{ ID, Message string }
	response, err = c.do(ctx, http.MethodPost, "/conversation/stop/"+conversation, "", nil)
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(response.Body).Decode(&stopped))
	require.NoError(t, response.Body.Close())
	require.Equal(t, "Resposta interrompida.", stopped.Message)
	response, err = c.do(ctx, http.MethodPost, "/conversation/complete/"+conversation, `{"text":"conte"}`, map[string]string{"Idempotency-Key": "k"})
	require.NoError(t, err)
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Contains(t, string(content), `{"id":"`+stopped.ID+`","sendMensages":[{"type":"text","text":"era uma vez"`)
	require.Contains(t, string(content), `"interrupted":true`)

	// What was said is in the conversation, whatever became of it.
	response, err = c.do(ctx, http.MethodGet, "/conversation/message/"+conversation, "", nil)
	require.NoError(t, err)
	content, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	for _, said := range []string{`"oi"`, `"um dois "`, `"de novo"`, `"fora do ar"`, `"conte"`, `"era uma vez"`} {
		require.Contains(t, string(content), said)
	}
}

// TestStoppedInTheMiddleOfAStream ends Prosa in order while answers are
// streamed: one that ends soon is whole, one that does not is cut, and comes
// whole after the next start.
func TestStoppedInTheMiddleOfAStream(t *testing.T) {
	ctx := harness.Within(t, time.Minute)
	all := spoken(20)
	next := make(chan string)
	model := modeltest.New(t, modeltest.Paced(next))
	prosa := mortal(t, harness.Spec{Settings: map[string]string{"data-dir": t.TempDir(), "conversations-rate": "0"}})
	c := newChat(ctx, t, prosa, fmt.Sprintf(chatting, model.URL))
	ending, err := c.open(ctx, c.begin(ctx, t), "oi", "", "")
	require.NoError(t, err)
	for _, token := range all[:10] {
		next <- token
	}
	model.Script(modeltest.Hangs("um começo"))
	conversation := c.begin(ctx, t)
	hanging, err := c.open(ctx, conversation, "oi", "", "")
	require.NoError(t, err)
	first, err := hanging.next()
	require.NoError(t, err)

	stopped := make(chan error, 1)
	go func() { stopped <- prosa.Stop() }()
	until(ctx, t, prosa.Metrics+"/readyz", func(status int, _ string) bool { return status != http.StatusOK })
	for _, token := range all[10:] {
		next <- token
	}
	close(next)
	events, err := ending.rest()
	require.NoError(t, err)
	require.Equal(t, strings.Join(all, ""), tokensOf(t, events))
	_, err = hanging.rest()
	require.Error(t, err, "a cut does not look like an end")
	require.NoError(t, <-stopped)

	model.Script(modeltest.Says("um começo", " e um fim"))
	revived(t, prosa)
	resumed, err := c.open(ctx, conversation, "", hanging.message, first.id)
	require.NoError(t, err)
	events, err = resumed.rest()
	require.NoError(t, err)
	require.Equal(t, " e um fim", tokensOf(t, events))
}

package model

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// attempt is one request, and what came of it.
type attempt struct {
	client *Client
	prompt *flow.Prompt
	key    string
	watch  *watch
	text   func(piece string)

	failure    *flow.Fault // of the exchange, nil if there was none
	body       *bounded    // nil until the stream begins
	mayRetry   bool
	retryAfter time.Duration
}

// run makes the request and reads the stream. Errors: a *flow.Fault. The cause of the context's end, if it ended, is the better one.
func (a *attempt) run(ctx context.Context) (*flow.Reply, error) {
	// Nothing is read from the environment, which may hold a key that is not meant for this endpoint.
	options := []option.RequestOption{option.WithBaseURL(a.prompt.Settings.GetBaseUrl()), option.WithHTTPClient(a), option.WithMaxRetries(0)}
	if a.key != "" {
		options = append(options, option.WithAPIKey(a.key))
	}
	if a.prompt.Settings.GetMaxTokens() > 0 {
		// The name that every endpoint knows.
		options = append(options, option.WithJSONSet("max_tokens", a.prompt.MaxTokens))
	}
	service := openai.NewChatCompletionService(options...)
	stream := service.NewStreaming(ctx, parameters(a.prompt))
	defer func() { _ = stream.Close() }() // what was read is read
	reply, err := a.read(stream)
	switch {
	case a.failure != nil:
		return nil, a.failure
	case err != nil:
		a.mayRetry = a.mayRetry && a.watch.first.IsZero()
		return nil, err
	}
	a.body.finish(a.client.deps.Clock)
	return reply, nil
}

// Do makes a request of the library. It takes off what tells about this machine, and lets nothing through but a stream of events.
func (a *attempt) Do(r *http.Request) (*http.Response, error) {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Stainless-") {
			r.Header.Del(name)
		}
	}
	r.Header.Set("User-Agent", "Prosa")
	r.Header.Set("Accept", "text/event-stream")
	response, err := a.client.deps.HTTP.Do(r)
	if err != nil {
		var refused *egress.Refused
		if errors.As(err, &refused) {
			return nil, a.fail(reasonAddress, false)
		}
		return nil, a.fail(reasonUnreachable, true)
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch status := response.StatusCode; {
	case status != http.StatusOK:
		a.retryAfter = webhook.ParseRetryAfter(response.Header.Get("Retry-After"), a.client.deps.Clock.Now())
		err = a.fail(reasonStatus+strconv.Itoa(status), status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500)
	case kind != "text/event-stream":
		err = a.fail(reasonContentType, false)
	default:
		// A connection that breaks before the first token may be bad luck.
		a.mayRetry = true
		a.body = &bounded{body: response.Body, left: maxStream(a.prompt.MaxTokens)}
		response.Body = a.body
		return response, nil
	}
	_ = response.Body.Close() // its body is not ours to repeat
	return nil, err
}

func (a *attempt) fail(reason string, mayRetry bool) error {
	a.failure, a.mayRetry = fault(reason), mayRetry
	return a.failure
}

// errTooLarge says that a stream, or one event of it, has more bytes than are read.
var errTooLarge = errors.New("too large")

// maxEvent is how many bytes an event may have: far more than a token with all its details, and few enough to be held for every stream.
const maxEvent = 256 << 10

// maxStream is how many bytes a stream may have that gives so many tokens.
func maxStream(tokens int) int { return 64<<10 + tokens<<10 }

// bounded reads a stream of events, and no more of it than a fair one has.
type bounded struct {
	body  io.ReadCloser
	left  int
	event int  // bytes of the event so far
	empty bool // the line has nothing yet
	broke bool // the connection did
}

// Read reads on, until an event or the stream is too large.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	for _, c := range p[:n] {
		b.event++
		switch {
		case c == '\n' && b.empty:
			b.event = 0
		case c == '\n':
			b.empty = true
		case c != '\r':
			b.empty = false
		}
	}
	b.broke = err != nil && !errors.Is(err, io.EOF)
	if b.left -= n; b.left < 0 || b.event > maxEvent {
		return 0, errTooLarge
	}
	return n, err
}

// finishWithin is how long the end of a stream is waited for when the model has ended. It follows at once where an endpoint means well.
const finishWithin = 20 * time.Millisecond

// finish reads what is left of a stream, which nobody needs: a connection that was read to its end serves the next request too.
func (b *bounded) finish(c clock.Clock) {
	timer := c.NewTimer(finishWithin)
	defer timer.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, b) // it ends with the stream, its bounds, or its being closed
	}()
	select {
	case <-ended:
	case <-timer.C():
	}
}

// Close closes the stream.
func (b *bounded) Close() error { return b.body.Close() }

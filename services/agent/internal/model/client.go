// Package model asks language models: any endpoint that speaks the OpenAI chat-completions protocol, streaming. What comes back is written
// by a stranger: every size is bounded, every wait has an end, and what goes wrong has one of a few names.
package model

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// maxAttempts is how often an endpoint is asked until it gives a first token.
	maxAttempts = 3
	// firstBackoff is about how long to wait before the second attempt; before the third it is twice that.
	firstBackoff = 250 * time.Millisecond

	defaultFirstToken = 15 * time.Second
	defaultToken      = 15 * time.Second
)

// Secrets gives the values that definitions name.
type Secrets interface {
	// Secret is the value of an instance's secret. It is in no error.
	Secret(ctx context.Context, instance, name string) (string, error)
}

// Deps are what a Client works with. All are required.
type Deps struct {
	// HTTP makes the requests. It must judge every address that it dials (egress.Guard), follow no redirects, and use no proxy.
	HTTP    *http.Client
	Secrets Secrets
	Clock   clock.Clock
	// Jitter gives a number from 0 up to, not including, 1.
	Jitter  func() float64
	Metrics *Metrics
}

// Client asks models. It is safe for concurrent use.
type Client struct{ deps Deps }

// NewClient returns a client.
func NewClient(deps Deps) *Client { return &Client{deps: deps} }

// Name names the worker.
func (c *Client) Name() string { return "agent models" }

// Run closes the connections that nobody uses when ctx ends.
func (c *Client) Run(ctx context.Context) error {
	<-ctx.Done()
	c.deps.HTTP.CloseIdleConnections()
	return nil
}

// Ask asks a model of an instance once. Until the first token it asks again what may have failed by chance. The pieces of text go to text
// as they come. Errors: a *flow.Fault, and the end of ctx.
func (c *Client) Ask(ctx context.Context, instance string, p *flow.Prompt, text func(piece string)) (*flow.Reply, error) {
	began := c.deps.Clock.Now()
	reply, first, err := c.ask(ctx, instance, p, text)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	c.deps.Metrics.observe(err, began, first)
	return reply, err
}

func (c *Client) ask(
	ctx context.Context, instance string, p *flow.Prompt, text func(piece string),
) (reply *flow.Reply, first time.Time, err error) {
	key, err := c.key(ctx, instance, p)
	if err != nil {
		return nil, first, err
	}
	w, ctx := c.watch(ctx, p)
	defer w.stop()
	for number := 1; ; number++ {
		a := &attempt{client: c, prompt: p, key: key, watch: w, text: text}
		reply, err := a.run(ctx)
		if err == nil {
			return reply, w.first, nil
		}
		var fault *flow.Fault
		if cause := context.Cause(ctx); cause != nil {
			return nil, w.first, cause
		}
		if !errors.As(err, &fault) {
			return nil, w.first, err
		}
		wait := max(a.retryAfter, c.backoff(number))
		if !a.mayRetry || number == maxAttempts || wait >= w.left() {
			return nil, w.first, fault
		}
		if !clock.Wait(ctx, c.deps.Clock, wait, nil) {
			return nil, w.first, context.Cause(ctx)
		}
	}
}

func (c *Client) key(ctx context.Context, instance string, p *flow.Prompt) (string, error) {
	name := p.Settings.GetApiKeySecret()
	if name == "" {
		return "", nil
	}
	key, err := c.deps.Secrets.Secret(ctx, instance, name)
	if err != nil || key == "" {
		return "", fault(reasonSecret)
	}
	return key, nil
}

// backoff is how long to wait after an attempt: between half of it and the whole, so that many who failed at once do not come back at once.
func (c *Client) backoff(attempt int) time.Duration {
	whole := firstBackoff << (attempt - 1)
	return whole/2 + time.Duration(c.deps.Jitter()*float64(whole/2))
}

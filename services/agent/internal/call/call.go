// Package call makes the calls of nodes: requests to other systems, through the guard that keeps them outside, each bounded in time and
// in what is read of its answer.
package call

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/http/httpguts"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
)

const (
	// MaxAnswer is how many bytes of an answer are read.
	MaxAnswer = 256 << 10
	// Margin is what a call leaves of the time that its turn has, to go on and to be stored: a turn that runs out of time is computed
	// again, and calls again.
	Margin = 2 * time.Second
	// maxConnsPerHost bounds the connections to one host.
	maxConnsPerHost = 64
	// headerIdempotencyKey tells the other system that it was called for the same already (draft-ietf-httpapi-idempotency-key-header).
	headerIdempotencyKey = "Idempotency-Key"
)

// Secrets gives the values of secrets.
type Secrets interface {
	// Secret is the value of a secret.
	Secret(ctx context.Context, instance, name string) (string, error)
}

// Deps are what a Caller works with. All are required.
type Deps struct {
	Guard   *egress.Guard
	Secrets Secrets
	Clock   clock.Clock
	Logger  *slog.Logger
	Tracer  trace.Tracer
	Metrics *Metrics
	// Version is that of Prosa, for the header User-Agent.
	Version string
}

// Caller makes calls. It is safe for concurrent use.
type Caller struct {
	Deps
	client *http.Client
}

// NewCaller returns a caller.
func NewCaller(deps Deps) *Caller {
	return &Caller{Deps: deps, client: deps.Guard.Client(egress.Options{MaxConnsPerHost: maxConnsPerHost, MaxIdleConnsPerHost: maxConnsPerHost})}
}

// Name is the caller's name as a worker.
func (c *Caller) Name() string { return "agent-calls" }

// Run waits until the context ends, and then closes the connections that are kept for later calls.
func (c *Caller) Run(ctx context.Context) error {
	<-ctx.Done()
	c.client.CloseIdleConnections()
	return nil
}

// Call makes a request and waits for the answer. It returns by the end of the request's time-out, or Margin before the end of ctx if that
// is earlier. The log says of a call that failed where it was made and why, and nothing of what was said.
func (c *Caller) Call(ctx context.Context, r *flow.CallRequest) flow.CallAnswer {
	ctx, span := c.Tracer.Start(ctx, "prosa.agent.call")
	defer span.End()
	began := c.Clock.Now()
	answer := c.exchange(ctx, r)
	c.Metrics.observe(answer.Outcome, c.Clock.Now().Sub(began))
	span.SetAttributes(attribute.String("prosa.call.outcome", string(answer.Outcome)), attribute.Int("http.response.status_code", answer.Status))
	if answer.Outcome != flow.CallOK {
		c.Logger.LogAttrs(ctx, slog.LevelWarn, "call failed",
			slog.String("outcome", string(answer.Outcome)), slog.Int("status", answer.Status), slog.String("instance", r.Instance),
			slog.String("agent_id", r.AgentID), slog.String("node", r.Node))
	}
	return answer
}

func (c *Caller) exchange(ctx context.Context, r *flow.CallRequest) flow.CallAnswer {
	timeout := r.Timeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)-Margin) //nolint:forbidigo // deadlines run on the machine's clock
	}
	if timeout <= 0 {
		return flow.CallAnswer{Outcome: flow.CallTimeout}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, outcome := c.request(ctx, r)
	if outcome != flow.CallOK {
		return flow.CallAnswer{Outcome: outcome}
	}
	response, err := c.client.Do(request)
	if err != nil {
		return flow.CallAnswer{Outcome: classify(ctx, err)}
	}
	answer := read(ctx, response)
	if answer.Outcome != flow.CallOK {
		// Without this, closing the body could wait for more of it.
		cancel()
	}
	_ = response.Body.Close() // all that matters of the answer has been read
	return answer
}

// request makes the request with the values of the secrets.
func (c *Caller) request(ctx context.Context, r *flow.CallRequest) (*http.Request, flow.CallOutcome) {
	var body io.Reader
	if r.Body != "" {
		body = strings.NewReader(r.Body)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, flow.CallUnsendable
	}
	request.Header.Set("User-Agent", "Prosa/"+c.Version)
	if r.Method != http.MethodGet {
		request.Header.Set(headerIdempotencyKey, idempotencyKey(r))
	}
	for _, header := range r.Headers {
		var value strings.Builder
		for _, piece := range header.Value {
			text := piece.Text
			if piece.Secret != "" {
				if text, err = c.Secrets.Secret(ctx, r.Instance, piece.Secret); err != nil {
					return nil, flow.CallSecret
				}
			}
			value.WriteString(text)
		}
		if !httpguts.ValidHeaderFieldValue(value.String()) {
			return nil, flow.CallUnsendable
		}
		request.Header.Set(header.Name, value.String())
	}
	return request, flow.CallOK
}

// idempotencyKey is the same whenever the same turn makes the same call, and different for any other.
func idempotencyKey(r *flow.CallRequest) string {
	sum := sha256.New()
	for _, part := range []string{r.Instance, r.AgentID, r.TurnID, r.Node, strconv.Itoa(r.Number)} {
		sum.Write(append([]byte(part), 0))
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// classify says what an error of the exchange means.
func classify(ctx context.Context, err error) flow.CallOutcome {
	var refused *egress.Refused
	var network net.Error
	switch {
	case errors.As(err, &refused):
		return flow.CallRefused
	case ctx.Err() != nil, errors.As(err, &network) && network.Timeout():
		return flow.CallTimeout
	default:
		return flow.CallNetwork
	}
}

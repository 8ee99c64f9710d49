// Package check tries a webhook out: it sends what deliveries send, and what a
// receiver must refuse, and says what is to be mended. It stores nothing.
package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// Budget bounds a whole check. It is less than the time that a call has, so
	// that the report of a slow webhook still arrives.
	Budget = 25 * time.Second
	// PerMinute is how often one endpoint can be checked in any minute.
	PerMinute = 5
	// Age is how old the message with the old timestamp is: twice what a
	// receiver should tolerate.
	Age = 2 * webhook.Tolerance
)

// ErrInProgress says that a check of the endpoint has not ended yet.
var ErrInProgress = errors.New("a check of the endpoint is in progress")

// LimitedError says that the endpoint was checked too often.
type LimitedError struct {
	// RetryAfter is when it can be checked again.
	RetryAfter time.Duration
}

// Error implements error.
func (e *LimitedError) Error() string {
	return fmt.Sprintf("an endpoint can be checked %d times a minute", PerMinute)
}

// Target is the endpoint to check, as deliveries see it.
type Target struct {
	// ID names the endpoint; the limits are for each.
	ID  string
	URL string
	// Secrets are those that sign now.
	Secrets         []webhook.Secret
	Acknowledgement webhook.Acknowledgement
	// Timeout is what one exchange may take.
	Timeout time.Duration
	// Test says that webhooks carry a debug object.
	Test bool
}

// Deps are what checks are made with.
type Deps struct {
	// NewClient returns a client that is judged by the same guard as
	// deliveries. Each check has its own, so that it makes a new connection and
	// sees the certificate as it is now.
	NewClient func() *http.Client
	Clock     clock.Clock
	IDs       *id.Source
	// UserAgent is that of deliveries.
	UserAgent string
}

// Checker checks endpoints. It is safe for concurrent use.
type Checker struct {
	Deps
	limit *ratelimit.Limiter

	mu      sync.Mutex
	running map[string]struct{}
}

// New returns a checker.
func New(deps Deps) *Checker {
	return &Checker{
		Deps:    deps,
		limit:   ratelimit.New(ratelimit.Window{Limit: PerMinute, Per: time.Minute}, deps.Clock),
		running: make(map[string]struct{}),
	}
}

// Run checks the target. It returns within [Budget]. Errors: [ErrInProgress],
// a *[LimitedError], and that of ctx.
func (c *Checker) Run(ctx context.Context, target Target) (*Report, error) {
	if err := c.enter(target.ID); err != nil {
		return nil, err
	}
	defer c.leave(target.ID)
	bounded, cancel := context.WithTimeout(ctx, Budget)
	defer cancel()
	client := c.NewClient()
	defer client.CloseIdleConnections()

	began := c.Clock.Now()
	a := &attempt{
		Checker: c, target: target, client: client, began: began, contactID: c.IDs.New(), interactionID: c.IDs.New(),
	}
	report := &Report{Time: began}
	report.Results = a.run(bounded)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("check webhook: %w", err)
	}
	report.TLS, report.Duration = a.seen.tls(), c.Clock.Now().Sub(began)
	for _, result := range report.Results {
		report.Verdict = worse(report.Verdict, result.Verdict)
	}
	return report, nil
}

func (c *Checker) enter(endpoint string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, busy := c.running[endpoint]; busy {
		return ErrInProgress
	}
	if decision := c.limit.Take(endpoint); !decision.Allowed {
		return &LimitedError{RetryAfter: decision.RetryAfter}
	}
	c.running[endpoint] = struct{}{}
	return nil
}

func (c *Checker) leave(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, endpoint)
}

// Package gate stands before the doors that are open to everybody: a flood to
// one endpoint, and strangers who try ids or tokens, are turned away before
// they cost a look into the store.
package gate

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/calleraddr"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Limits are those of a gate. A rate of zero calls a second is none.
type Limits struct {
	// Endpoint is how much one endpoint takes.
	Endpoint ratelimit.Rate
	// Refused is how many calls of one address may name no endpoint; and how
	// many to one endpoint may have no token that fits.
	Refused ratelimit.Rate
}

// Gate counts calls in this process. It is safe for concurrent use.
type Gate struct {
	endpoints *ratelimit.Buckets
	unknown   *ratelimit.Buckets
	guesses   *ratelimit.Buckets
	refused   *prometheus.CounterVec
}

// New returns a gate that has seen nobody.
func New(limits Limits, c clock.Clock, metrics prometheus.Registerer) (*Gate, error) {
	g := &Gate{
		endpoints: buckets(limits.Endpoint, c), unknown: buckets(limits.Refused, c), guesses: buckets(limits.Refused, c),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prosa_channel_calls_limited_total", Help: "Inbound calls turned away by a rate limit, by limit.",
		}, []string{"limit"}),
	}
	for _, limit := range []string{"endpoint", "unknown", "token"} {
		g.refused.WithLabelValues(limit)
	}
	return g, metric.Register(metrics, g.refused)
}

func buckets(rate ratelimit.Rate, c clock.Clock) *ratelimit.Buckets {
	if rate.PerSecond <= 0 {
		return nil
	}
	return ratelimit.NewBuckets(rate, c)
}

// Enter counts a call to an endpoint that its caller may make. The error is
// RATE_LIMITED.
func (g *Gate) Enter(endpointID string) error {
	if wait, ok := g.endpoints.Take(endpointID); !ok {
		return g.limited("endpoint", wait)
	}
	return nil
}

// Unknown is asked before an endpoint that this process does not know is looked
// for. The error is RATE_LIMITED if the caller's address named too many that
// there are not.
func (g *Gate) Unknown(ctx context.Context) error {
	addr, ok := calleraddr.Of(ctx)
	if !ok {
		return nil
	}
	if wait, ok := g.unknown.Peek(addr.String()); !ok {
		return g.limited("unknown", wait)
	}
	return nil
}

// NotFound counts a call for an endpoint that there is not.
func (g *Gate) NotFound(ctx context.Context) {
	if addr, ok := calleraddr.Of(ctx); ok {
		g.unknown.Take(addr.String())
	}
}

// Guess is asked before a token is looked at. The error is RATE_LIMITED if the
// caller's address showed too many that do not fit this endpoint.
func (g *Gate) Guess(ctx context.Context, endpointID string) error {
	addr, ok := calleraddr.Of(ctx)
	if !ok {
		return nil
	}
	if wait, ok := g.guesses.Peek(addr.String() + "/" + endpointID); !ok {
		return g.limited("token", wait)
	}
	return nil
}

// Misfit counts a call whose token does not fit the endpoint.
func (g *Gate) Misfit(ctx context.Context, endpointID string) {
	if addr, ok := calleraddr.Of(ctx); ok {
		g.guesses.Take(addr.String() + "/" + endpointID)
	}
}

var errLimited = rpcerr.New(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED, "too many requests")

func (g *Gate) limited(limit string, wait time.Duration) error {
	g.refused.WithLabelValues(limit).Inc()
	return errLimited.WithRetryAfter(wait)
}

package grpcserver

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/ratelimit"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const nameRateLimit = "rate-limit"

// The headers of the IETF draft on rate limits, which the gateway hands on. A handler with further windows adds to them.
const (
	HeaderRateLimitPolicy = "ratelimit-policy"
	HeaderRateLimit       = "ratelimit"
	// windowName names the window of these limits in the headers.
	windowName = "second"
)

// The limits that the contract states, for each API key.
const (
	contactsPerSecond      = 10
	conversationsPerSecond = 20
)

// Limiter counts a call of the key if it is allowed. It must not block on anything for long.
type Limiter interface {
	Take(key string) ratelimit.Decision
}

// Limits says which limiter, under which key, a call counts against. A nil limiter: none. It is not asked about health and
// reflection.
type Limits func(ctx context.Context, fullMethod string, principal auth.Principal) (Limiter, string)

// DefaultLimits are the contract's limits, kept in this process: 10 calls a second for each key on the contacts surface, 20 on
// the conversations surface. The root key counts as one key.
func DefaultLimits(c clock.Clock) Limits {
	contacts := ratelimit.New(ratelimit.Window{Limit: contactsPerSecond, Per: time.Second}, c)
	conversations := ratelimit.New(ratelimit.Window{Limit: conversationsPerSecond, Per: time.Second}, c)
	return func(_ context.Context, fullMethod string, principal auth.Principal) (Limiter, string) {
		switch auth.AccessOf(fullMethod) {
		case accountsv1.Access_ACCESS_CONTACTS_READ:
			return contacts, LimitKey(principal)
		case accountsv1.Access_ACCESS_CONVERSATIONS:
			return conversations, LimitKey(principal)
		default:
			return nil, ""
		}
	}
}

// LimitKey is what a caller's calls are counted under.
func LimitKey(principal auth.Principal) string {
	if principal.Root {
		return "root"
	}
	return principal.KeyID
}

// rateLimit refuses calls beyond a key's limit, with the time after which the next one is allowed, and tells callers of limited
// calls in the headers how much is left.
func rateLimit(limits Limits) interceptor {
	return interceptor{
		name: nameRateLimit,
		unary: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			setHeader := func(md metadata.MD) error { return grpc.SetHeader(ctx, md) }
			if err := takeOne(ctx, limits, info.FullMethod, setHeader); err != nil {
				return nil, err
			}
			return handler(ctx, request)
		},
		stream: func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if err := takeOne(stream.Context(), limits, info.FullMethod, stream.SetHeader); err != nil {
				return err
			}
			return handler(server, stream)
		},
	}
}

func takeOne(ctx context.Context, limits Limits, fullMethod string, setHeader func(metadata.MD) error) error {
	if infrastructure[fullMethod] {
		return nil
	}
	limiter, key := limits(ctx, fullMethod, auth.FromContext(ctx))
	if limiter == nil {
		return nil
	}
	decision := limiter.Take(key)
	// As with the request id: headers that cannot be set are no reason to refuse the call.
	_ = setHeader(metadata.MD{
		HeaderRateLimitPolicy: {decision.Policy(windowName)},
		HeaderRateLimit:       {decision.Header(windowName)},
	})
	if decision.Allowed {
		return nil
	}
	return rpcerr.New(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED, "too many calls with this key").
		WithRetryAfter(decision.RetryAfter)
}

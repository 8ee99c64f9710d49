package grpcserver

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const nameRateLimit = "rate-limit"

// The headers of draft-ietf-httpapi-ratelimit-headers, which every answer to a limited call of a key has, and the gateway hands on.
const (
	HeaderRateLimitPolicy = "ratelimit-policy"
	HeaderRateLimit       = "ratelimit"
)

// The kinds of calls that are counted.
const (
	// KindContacts are the calls with ACCESS_CONTACTS_READ: queries of contacts and of events, together.
	KindContacts = "contacts"
	// KindConversations are the calls with ACCESS_CONVERSATIONS.
	KindConversations = "conversations"
)

// Keeper counts a call of a subject against its limits, if they allow it. The error is that the caller has left.
type Keeper interface {
	Take(ctx context.Context, subject quota.Subject, limits quota.Limits) (quota.Verdict, error)
}

// Quotas are the limits of each API key. An RPC's access option says which of them its calls count against; the root key has no
// limits, and neither have health and reflection.
type Quotas struct {
	// Keeper counts. Nil: nothing is limited.
	Keeper Keeper
	// Contacts and Conversations are the limits of those kinds.
	Contacts, Conversations quota.Limits
}

// of is the kind of the calls of an access, and its limits. Those of nothing are none.
func (q Quotas) of(access accountsv1.Access) (string, quota.Limits) {
	switch access {
	case accountsv1.Access_ACCESS_CONTACTS_READ:
		return KindContacts, q.Contacts
	case accountsv1.Access_ACCESS_CONVERSATIONS:
		return KindConversations, q.Conversations
	}
	return "", quota.Limits{}
}

// rateLimit refuses calls beyond what the process takes at once, and beyond a key's limits, with the time after which the next one is
// allowed, and tells callers of limited calls in the headers how much is left. It comes after authentication: who has no key costs it
// nothing, and a call that is turned away for others' sake does not count against its key.
func rateLimit(quotas Quotas, doors *doors) interceptor {
	return interceptor{
		name: nameRateLimit,
		unary: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			gate, err := doors.enter(ctx, info.FullMethod)
			if err != nil {
				return nil, err
			}
			if gate != nil {
				defer gate.Leave()
			}
			setHeader := func(md metadata.MD) error { return grpc.SetHeader(ctx, md) }
			if err := takeOne(ctx, quotas, info.FullMethod, setHeader); err != nil {
				return nil, err
			}
			return handler(ctx, request)
		},
		stream: func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			gate, err := doors.enter(stream.Context(), info.FullMethod)
			if err != nil {
				return err
			}
			if gate != nil {
				defer gate.Leave()
			}
			if err := takeOne(stream.Context(), quotas, info.FullMethod, stream.SetHeader); err != nil {
				return err
			}
			return handler(server, stream)
		},
	}
}

func takeOne(ctx context.Context, quotas Quotas, fullMethod string, setHeader func(metadata.MD) error) error {
	if quotas.Keeper == nil {
		return nil
	}
	kind, limits := quotas.of(auth.AccessOf(fullMethod))
	if limits.None() {
		return nil
	}
	principal := auth.FromContext(ctx)
	if principal.KeyID == "" {
		return nil
	}
	subject := quota.Subject{Instance: principal.Instance, Key: principal.KeyID, Kind: kind}
	verdict, err := quotas.Keeper.Take(ctx, subject, limits)
	if err != nil {
		return rpcerr.FromStore(err)
	}
	// As with the request id: headers that cannot be set are no reason to refuse the call.
	_ = setHeader(metadata.MD{
		HeaderRateLimitPolicy: {verdict.Policy()},
		HeaderRateLimit:       {verdict.Field()},
	})
	if verdict.Allowed {
		return nil
	}
	return rpcerr.New(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED, "too many calls with this key").
		WithRetryAfter(verdict.RetryAfter)
}

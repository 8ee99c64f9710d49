package grpcserver

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/mtls"
)

const nameAuthentication = "authentication"

// authentication lets a call in if its access option says so: see auth.Identify and auth.Admit. A stream's request is looked at
// when it has come.
func authentication(verifier auth.Verifier, internal trust) interceptor {
	return interceptor{
		name: nameAuthentication,
		unary: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if infrastructure[info.FullMethod] {
				return handler(ctx, request)
			}
			access := auth.AccessOf(info.FullMethod)
			principal, err := auth.Identify(ctx, verifier, access, internal(ctx))
			if err != nil {
				return nil, err
			}
			noteCaller(ctx, principal)
			if err := auth.Admit(principal, access, request); err != nil {
				return nil, err
			}
			return handler(auth.WithPrincipal(ctx, principal), request)
		},
		stream: func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if infrastructure[info.FullMethod] {
				return handler(server, stream)
			}
			ctx := stream.Context()
			access := auth.AccessOf(info.FullMethod)
			principal, err := auth.Identify(ctx, verifier, access, internal(ctx))
			if err != nil {
				return err
			}
			noteCaller(ctx, principal)
			return handler(server, &receivingStream{
				ServerStream: withContext(auth.WithPrincipal(ctx, principal), stream),
				check:        func(message any) error { return auth.Admit(principal, access, message) },
			})
		},
	}
}

func noteCaller(ctx context.Context, principal auth.Principal) {
	call := callOf(ctx)
	call.principal, call.identified = principal, true
}

// certified trusts peers that showed a certificate of the roles' authority.
func certified(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	return ok && mtls.Verified(p.AuthInfo)
}

func everyone(context.Context) bool { return true }

func nobody(context.Context) bool { return false }

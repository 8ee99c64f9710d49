package grpcserver

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/validate"
)

const nameValidation = "validation"

// Checker is a service that knows more about its requests than the rules of the contract can say, as whether a page token is one
// of ours. What it finds is named together with what breaks the rules; when only it finds something, the handler says so itself.
type Checker interface {
	// CheckRequest returns what is wrong with a request, nil for requests that it knows nothing about.
	CheckRequest(ctx context.Context, request any) []rpcerr.Violation
}

// validation refuses requests that break the rules of the contract, naming every bad field at once.
func validation() interceptor {
	return interceptor{
		name: nameValidation,
		unary: func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if err := validate.Request(request); err != nil {
				return nil, withChecks(ctx, request, info.Server, err)
			}
			return handler(ctx, request)
		},
		stream: func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(server, &receivingStream{ServerStream: stream, check: validate.Request})
		},
	}
}

// withChecks adds what the service finds to a refusal; a field that is named already is not named again.
func withChecks(ctx context.Context, request, server any, err error) error {
	checker, ok := server.(Checker)
	violations := rpcerr.Violations(status.Convert(err))
	if !ok || len(violations) == 0 {
		return err
	}
	for _, found := range checker.CheckRequest(ctx, request) {
		if !slices.ContainsFunc(violations, func(v rpcerr.Violation) bool { return v.Field == found.Field }) {
			violations = append(violations, found)
		}
	}
	return rpcerr.Invalid(violations...)
}

package grpcserver

import (
	"context"

	"google.golang.org/grpc"

	"github.com/prosa-chat/prosa/services/internal/validate"
)

const nameValidation = "validation"

// validation refuses requests that break the rules of the contract, naming every bad field at once.
func validation() interceptor {
	return interceptor{
		name: nameValidation,
		unary: func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if err := validate.Request(request); err != nil {
				return nil, err
			}
			return handler(ctx, request)
		},
		stream: func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(server, &receivingStream{ServerStream: stream, check: validate.Request})
		},
	}
}

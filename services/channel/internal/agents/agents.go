// Package agents asks the agent service about agents.
package agents

import (
	"context"

	"google.golang.org/grpc/codes"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Check reports whether an agent of the instance exists. Errors, which are the
// caller's: AGENT_NOT_FOUND, UNAVAILABLE, INTERNAL.
func Check(ctx context.Context, agents agentv1.TurnServiceClient, instance, id string) error {
	_, err := agents.LookupAgent(ctx, &agentv1.LookupAgentRequest{Instance: instance, AgentId: id})
	switch {
	case err == nil:
		return nil
	case rpcerr.Reason(err) == "AGENT_NOT_FOUND":
		return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_AGENT_NOT_FOUND, "no such agent", "id", id)
	case rpcerr.Code(err) == codes.Internal, rpcerr.Code(err) == codes.Unknown:
		return rpcerr.Internal(err)
	default:
		return rpcerr.Unavailable(err)
	}
}

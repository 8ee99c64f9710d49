package dryrun

import (
	"context"
	"net/http"

	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// script answers the calls of nodes that have an answer written down, and has others made, or not.
type script struct {
	answers map[string]*structpb.Value
	others  flow.Caller // nil: not made
}

func (r *Runner) caller(request *agentv1.TestAgentRequest) flow.Caller {
	made := &script{answers: request.GetCallAnswers()}
	if request.GetMakeCalls() {
		made.others = r.deps.Calls
	}
	return made
}

// Call implements flow.Caller.
func (s *script) Call(ctx context.Context, r *flow.CallRequest) flow.CallAnswer {
	if value, ok := s.answers[r.Node]; ok {
		return flow.CallAnswer{Outcome: flow.CallOK, Status: http.StatusOK, Value: value}
	}
	if s.others == nil {
		return flow.CallAnswer{Outcome: flow.CallUnmade}
	}
	return s.others.Call(ctx, r)
}

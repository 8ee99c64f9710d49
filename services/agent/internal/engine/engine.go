// Package engine says what answers a turn: a flow, a flow with a model, or a team's own program.
package engine

import (
	"context"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// Sink gets an answer while it is made.
type Sink = flow.Sink

// Discard is a sink for callers that want the result only.
var Discard = flow.Discard

// Engine answers turns. It is safe for concurrent use.
type Engine interface {
	// Run runs one turn. What goes to the sink is what the result's Messages say, in the same order. After an error the result is nil and
	// what the sink got is not an answer. Errors: flow.ErrInterrupted when the answer broke off in the middle; the end of the context.
	Run(ctx context.Context, t flow.Turn, sink Sink) (*flow.Result, error)
}

var _ Engine = (*flow.Program)(nil)

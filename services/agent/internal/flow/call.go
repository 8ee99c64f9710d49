package flow

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/request"
)

// MaxCalls is how many calls one turn may make.
const MaxCalls = 10

// CallOutcome says what came of a call.
type CallOutcome string

// What can come of a call. All but CallOK are failures.
const (
	CallOK         CallOutcome = "ok"          // a status from 200 to 299, and an answer that can be read
	CallStatus     CallOutcome = "status"      // another status
	CallTimeout    CallOutcome = "timeout"     // no whole answer in time
	CallNetwork    CallOutcome = "network"     // no connection, or one that broke
	CallRefused    CallOutcome = "refused"     // the guard does not let the target be called
	CallTooLarge   CallOutcome = "too_large"   // the answer is larger than is read, or than the conversation can keep
	CallMalformed  CallOutcome = "malformed"   // the answer says that it is JSON, and is not
	CallUnsendable CallOutcome = "unsendable"  // the values that there are make no request
	CallSecret     CallOutcome = "secret"      // a secret that is named is not there
	CallUnmade     CallOutcome = "unavailable" // calls are not made here
)

// CallRequest is a request that a node makes.
type CallRequest struct {
	request.Request
	// Instance, AgentID and TurnID say for whom it is made; Node is the node that makes it, and Number counts, from 1, the calls of the
	// turn. A turn that is computed again makes the same calls with the same numbers, unless what it sees has changed.
	Instance, AgentID, TurnID, Node string
	Number                          int
}

// CallAnswer is what came of a request.
type CallAnswer struct {
	Outcome CallOutcome
	// Status is the status of the answer, 0 if there was none.
	Status int
	// Value is what was answered: of JSON the value, of anything else the text. Nil: nothing.
	Value *structpb.Value
}

// Caller calls other systems.
type Caller interface {
	// Call makes a request and waits for the answer, for no longer than the request says.
	Call(ctx context.Context, r *CallRequest) CallAnswer
}

// Called is a call that a turn made.
type Called struct {
	Node string
	// Request is what was sent, nil if none could be made. Secrets are in it by their names.
	Request *request.Request
	Outcome CallOutcome
	Status  int
}

// call is a compiled call.
type call struct {
	request *request.Template
	save    place // without a name: nowhere
	onError *node // nil: the flow goes on
}

func (c *compiler) call(def *agentv1.Call) (*call, error) {
	if def == nil {
		return nil, nil
	}
	template, faults := request.Compile(c.exprs, def)
	if len(faults) > 0 {
		return nil, fmt.Errorf("%s: %w", faults[0].Field, faults[0].Err)
	}
	made := &call{request: template}
	if def.GetSave() != "" {
		var ok bool
		if made.save, ok = parsePlace(def.GetSave()); !ok || made.save.contact {
			return nil, errors.New("save: the name must begin with `context.`")
		}
	}
	var err error
	if made.onError, err = c.target(def.GetOnError()); err != nil {
		return nil, fmt.Errorf("onError: %w", err)
	}
	return made, nil
}

// call makes the call of a node, keeps the answer, and reports whether it succeeded. What is kept of a call that failed is nothing, also
// of the answer of an earlier one: a flow must not decide by what is no longer so.
func (r *run) call(n *node) bool {
	if len(r.result.Calls) == MaxCalls {
		r.stop(fmt.Sprintf("more than %d calls in one turn", MaxCalls))
		return false
	}
	made := Called{Node: n.name}
	var answer CallAnswer
	made.Request, answer = r.request(n)
	if answer.Outcome == CallOK && n.call.save.name != "" && !r.keepValue(n.call.save.name, answer.Value) {
		answer.Outcome = CallTooLarge
	}
	if answer.Outcome != CallOK && n.call.save.name != "" {
		r.keepValue(n.call.save.name, nil)
	}
	made.Outcome, made.Status = answer.Outcome, answer.Status
	r.result.Calls = append(r.result.Calls, made)
	return made.Outcome == CallOK
}

// request makes the request of a node and sends it.
func (r *run) request(n *node) (*request.Request, CallAnswer) {
	made, err := n.call.request.Render(r.ctx, r.scope)
	if err != nil {
		return nil, CallAnswer{Outcome: CallUnsendable}
	}
	if r.turn.Caller == nil {
		return made, CallAnswer{Outcome: CallUnmade}
	}
	return made, r.turn.Caller.Call(r.ctx, &CallRequest{
		Request: *made, Instance: r.turn.InstanceSlug, AgentID: r.turn.AgentID, TurnID: r.turn.ID, Node: n.name,
		Number: len(r.result.Calls) + 1,
	})
}

// keepValue keeps a value in the context, and reports false when the conversation has no room for it. Nothing, and a text without
// anything in it, remove what was there.
func (r *run) keepValue(name string, value *structpb.Value) bool {
	if _, isNull := value.GetKind().(*structpb.Value_NullValue); value.GetKind() == nil || isNull || weight(value) == 0 {
		r.keep(place{name: name}, "")
		return true
	}
	if r.kept < 0 {
		r.measure()
	}
	after := r.kept - r.size(place{name: name}) + len(name) + weight(value)
	if after > MaxKept {
		return false
	}
	r.scope.SetContext(name, value)
	r.kept = after
	return true
}

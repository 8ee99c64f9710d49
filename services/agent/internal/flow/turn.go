package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
)

const (
	// MaxNodes is how many nodes one turn may run.
	MaxNodes = 50
	// MaxMessages is how many messages one answer may have.
	MaxMessages = 200
	// MaxOutput is how many bytes of rendered text one turn may give, messages and events together.
	MaxOutput = 1 << 20
	// MaxAttributes is how many attributes of the person one turn may set; more are ignored.
	MaxAttributes = 500
	// MaxKept is how many bytes a conversation may keep in context and contact together; what would go beyond is ignored.
	MaxKept = 256 << 10
)

// NotUnderstood is what is said when nothing matches and the definition has no fallback.
const NotUnderstood = "Desculpe, não entendi."

// Turn is what comes in.
type Turn struct {
	// State is where the conversation stands, nil when it opens. It is not changed.
	State *agentv1.FlowState
	// Opening says that this is the first turn of the conversation.
	Opening bool
	// Text is what the person typed, or the label of what they pressed; Postback is the value of the option that they pressed.
	Text, Postback string
	// NoInput says that nothing was said: a program opened the turn, and the start node runs, also when the conversation is open.
	NoInput bool
	// Sent is added to what the conversation keeps, before anything runs. What would go beyond MaxKept is ignored.
	Sent map[string]*structpb.Value
	// Now is the time of the turn. Location is the time zone of the instance; nil is UTC.
	Now      time.Time
	Location *time.Location
	// Begun is when the turn began to run, from which what it may take is counted. Zero: Now.
	Begun time.Time
	// What expressions see as `instance` and `agent`.
	InstanceSlug, InstanceName, AgentID, AgentName string
	// Attributes is what is known about the person. It is read when Opening; later the state has it.
	Attributes map[string]string
	// NewID makes the identifiers of menus.
	NewID func() string
	// ID and ConversationID name the turn and its conversation for who is asked to answer it.
	ID, ConversationID string
	// Model asks the model of the program; nil: it cannot be asked, and the turn goes on as if it did not answer.
	Model Model
	// Caller makes the calls of nodes; nil: they fail.
	Caller Caller
}

// Event is something that the flow reports.
type Event struct {
	Name    string
	Details map[string]string
}

// Result is what comes out.
type Result struct {
	// State is where the conversation stands now; never nil, and empty when it is finished. It shares parts with the turn's state, so
	// neither may be changed in place.
	State *agentv1.FlowState
	// Context is what the conversation keeps now, or kept until it finished with this turn. It may not be changed in place.
	Context map[string]*structpb.Value
	// Messages is the answer, in order. It can be empty.
	Messages []*messagev1.Message
	// Events is what was reported, in order.
	Events []Event
	// Attributes is what was set of `contact`; an empty value removes the attribute.
	Attributes map[string]string
	// Finished says that `end` was reached.
	Finished bool
	// Node is the last node that ran, "" if none did.
	Node string
	// InputLabel is the label of the option that was picked, "" if none was.
	InputLabel string
	// Intent is the intent that matched, "" if none did. Confidence is how sure that was, or that of the curated answer or the passage
	// that was given; 0 if nothing matched.
	Intent     string
	Confidence float64
	// HandedOver says that the turn gave the conversation to people.
	HandedOver bool
	// Calls are the calls of nodes, in order.
	Calls []Called
	// Fault says why the model, or the remote program, that was asked gave no answer; "" if none was asked, or it did. The rest of the
	// result is then the answer in its place.
	Fault string
	// Stopped says why the turn was cut short, "" if it was not. The person was told NotUnderstood then.
	Stopped string
}

// run is a turn that is running.
type run struct {
	*Program
	ctx   context.Context
	turn  Turn
	sink  Sink
	now   time.Time // in the instance's time zone
	scope *expr.Scope

	ask       *agentv1.OpenAsk
	menus     []*agentv1.SentMenu
	handoff   *agentv1.OpenHandoff
	kept      int // bytes in context and contact, -1 while not measured
	nodesRun  int
	output    int      // bytes rendered
	writing   *writing // nil: no text message is being made
	timestamp *timestamppb.Timestamp
	failure   error // of this program, for which there is no answer

	result Result
}

// Run runs one turn, and gives each message to the sink as it is made. An expression that fails at run time renders as nothing. Errors:
// ErrInterrupted; faults of the caller; and the end of ctx: an answer that was cut short by it would be wrong, so there is none.
func (p *Program) Run(ctx context.Context, t Turn, sink Sink) (*Result, error) {
	if t.NewID == nil {
		return nil, errors.New("run turn: no source of identifiers")
	}
	r := p.begin(ctx, &t, sink)
	r.respond()
	if err := cmp.Or(ctx.Err(), r.failure); err != nil {
		return nil, fmt.Errorf("run turn: %w", err)
	}
	return r.finish(), nil
}

func (p *Program) begin(ctx context.Context, t *Turn, sink Sink) *run {
	location := t.Location
	if location == nil {
		location = time.UTC
	}
	contact := t.State.GetContact()
	r := &run{
		Program: p, ctx: ctx, turn: *t, sink: sink, now: t.Now.In(location), ask: t.State.GetAsk(), menus: t.State.GetMenus(),
		handoff: t.State.GetHandoff(), kept: -1, timestamp: timestamppb.New(t.Now.Truncate(time.Millisecond)),
	}
	if t.Opening && len(contact) == 0 {
		contact = t.Attributes
	}
	r.scope = expr.NewScope(expr.Values{
		Contact:  contact,
		Context:  t.State.GetContext().GetFields(),
		Input:    expr.Input{Text: t.Text, Postback: t.Postback},
		Now:      r.now,
		Instance: expr.Instance{Slug: t.InstanceSlug, Name: t.InstanceName},
		Agent:    expr.Agent{ID: t.AgentID, Name: t.AgentName},
	})
	for _, name := range slices.Sorted(maps.Keys(t.Sent)) {
		r.take(name, t.Sent[name])
	}
	return r
}

// respond decides what the message means, and does it.
func (r *run) respond() {
	switch {
	case r.handoff != nil:
		// People have the conversation.
	case r.turn.NoInput:
		// There is nothing to match, so without a start nothing is said.
		if r.start != nil {
			r.ask = nil // the conversation has gone elsewhere
			r.enter(r.start)
		}
	case r.turn.Opening && r.start != nil:
		// Nothing was asked yet, so even a postback can only be an opening. The words can say more.
		r.enter(r.start)
		if r.goesOn() {
			r.understood()
		}
	case r.pressed(), r.answered(), r.typed(), r.understood(), r.modelled(), r.informed():
	default:
		r.notUnderstood()
	}
}

// notUnderstood runs the fallback.
func (r *run) notUnderstood() {
	if r.fallback != nil {
		r.enter(r.fallback)
		return
	}
	r.apologise()
}

func (r *run) apologise() {
	r.send(&messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: NotUnderstood}}})
}

// stop cuts the turn short.
func (r *run) stop(reason string) {
	if r.result.Stopped == "" {
		r.result.Stopped = reason
		r.apologise()
	}
}

// enter runs nodes from n on, until one waits for the person, or ends the conversation.
func (r *run) enter(n *node) {
	for n != nil && r.ctx.Err() == nil {
		if r.nodesRun == MaxNodes {
			r.stop(fmt.Sprintf("more than %d nodes in one turn", MaxNodes))
			return
		}
		r.nodesRun++
		r.result.Node = n.name
		if n.call != nil && !r.call(n) && r.result.Stopped == "" && n.call.onError != nil {
			n = n.call.onError
			continue
		}
		waits := r.result.Stopped != "" || r.perform(n)
		if r.result.Stopped != "" || waits {
			return
		}
		n = r.leave(n)
	}
}

// perform does what a node does and reports whether it then waits for the person: a node that asked, or sent a menu, does.
func (r *run) perform(n *node) (waits bool) {
	r.assign(n.set)
	for i := range n.say {
		if r.say(n, i) {
			waits = true
		}
		if r.result.Stopped != "" {
			return true
		}
	}
	r.report(n.event)
	if n.ask != nil {
		r.ask = &agentv1.OpenAsk{Node: n.name}
		r.sendWords(&n.ask.prompt)
		waits = true
	}
	if r.scope.Exhausted() {
		r.stop("the expressions cost too much")
	}
	return waits
}

// leave gives the node that n's way out leads to, nil if n waits or ends the conversation.
func (r *run) leave(n *node) *node {
	for i := range n.branches {
		if n.branches[i].when.Holds(r.ctx, r.scope) {
			return n.branches[i].target
		}
	}
	if n.next != nil {
		return n.next
	}
	if n.handoff != nil {
		r.ask, r.handoff, r.result.HandedOver = nil, n.handoff, true
		return nil
	}
	r.result.Finished = n.end
	return nil
}

// goesOn reports whether the conversation is still the agent's to answer.
func (r *run) goesOn() bool { return !r.result.Finished && r.handoff == nil && r.result.Stopped == "" }

// resume goes on behind a node whose question was answered, or whose menu was picked from. It reports false if the node has no way out
// that is open.
func (r *run) resume(n *node) bool {
	r.result.Node = n.name
	next := r.leave(n)
	if next != nil {
		r.enter(next)
	}
	return next != nil || r.result.Finished || r.result.HandedOver
}

// assign keeps values. All are rendered before the first is kept, so that their order, which a definition cannot give, does not matter.
func (r *run) assign(set []assignment) {
	if len(set) == 0 {
		return
	}
	values := make([]string, len(set))
	for i := range set {
		values[i] = cut(set[i].value.Render(r.ctx, r.scope), maxText)
	}
	for i := range set {
		r.keep(set[i].to, values[i])
	}
}

// keep keeps a value; an empty one removes what was there, because a missing value and nothing are the same to a definition.
func (r *run) keep(at place, value string) {
	if r.kept < 0 {
		r.measure()
	}
	after := r.kept - r.size(at)
	if value != "" {
		after += len(at.name) + len(value)
	}
	if after > MaxKept && value != "" {
		return
	}
	if at.contact {
		if _, known := r.result.Attributes[at.name]; !known && len(r.result.Attributes) == MaxAttributes {
			return
		}
		if r.result.Attributes == nil {
			r.result.Attributes = make(map[string]string)
		}
		r.result.Attributes[at.name] = value
		r.scope.SetContact(at.name, value)
	} else if value == "" {
		r.scope.SetContext(at.name, nil)
	} else {
		r.scope.SetContext(at.name, structpb.NewStringValue(value))
	}
	r.kept = after
}

// take keeps a value that was sent with the message, whatever its type.
func (r *run) take(name string, value *structpb.Value) {
	if r.kept < 0 {
		r.measure()
	}
	if after := r.kept - r.size(place{name: name}) + len(name) + weight(value); after <= MaxKept {
		r.scope.SetContext(name, value)
		r.kept = after
	}
}

// weight is how many bytes a value counts.
func weight(value *structpb.Value) int {
	if text, ok := value.GetKind().(*structpb.Value_StringValue); ok {
		return len(text.StringValue)
	}
	return proto.Size(value)
}

// size gives how many bytes are kept at a place, its name included.
func (r *run) size(at place) int {
	if at.contact {
		if value, ok := r.scope.Contact()[at.name]; ok {
			return len(at.name) + len(value)
		}
		return 0
	}
	if value, ok := r.scope.Context()[at.name]; ok {
		return len(at.name) + weight(value)
	}
	return 0
}

// measure counts what is kept.
func (r *run) measure() {
	r.kept = 0
	for name, value := range r.scope.Contact() {
		r.kept += len(name) + len(value)
	}
	for name, value := range r.scope.Context() {
		r.kept += len(name) + weight(value)
	}
}

// report reports an event.
func (r *run) report(e *event) {
	if e == nil {
		return
	}
	reported := Event{Name: e.name}
	if len(e.details) > 0 {
		reported.Details = make(map[string]string, len(e.details))
	}
	for i := range e.details {
		value := cut(e.details[i].value.Render(r.ctx, r.scope), maxText)
		r.output += len(value)
		reported.Details[e.details[i].name] = value
	}
	r.result.Events = append(r.result.Events, reported)
	if r.output > MaxOutput {
		r.stop("the answer is too large")
	}
}

// finish makes the result.
func (r *run) finish() *Result {
	r.result.Context = r.scope.Context()
	if r.result.Finished {
		r.result.State = &agentv1.FlowState{}
		return &r.result
	}
	state := &agentv1.FlowState{Contact: r.scope.Contact(), Ask: r.ask, Menus: r.menus, Handoff: r.handoff}
	if values := r.scope.Context(); len(values) > 0 {
		state.Context = &structpb.Struct{Fields: values}
	}
	// What a newer release keeps there stays, while both are at work.
	if kept := r.turn.State.ProtoReflect().GetUnknown(); len(kept) > 0 {
		state.ProtoReflect().SetUnknown(kept)
	}
	r.result.State = state
	return &r.result
}

package expr

import (
	"context"
	"errors"
	"maps"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/types/known/structpb"
)

// Values is what expressions can see.
type Values struct {
	// Contact is what is known about the person.
	Contact map[string]string
	// Context is what the flow keeps about the conversation.
	Context map[string]*structpb.Value
	// Input is what the person sent.
	Input Input
	// Intent is what the person wants. The zero value: not known.
	Intent Intent
	// Now is the time of the turn, in the time zone of the instance.
	Now time.Time
	// Instance and Agent say who answers.
	Instance Instance
	Agent    Agent
}

// Input is what the person sent: the words, the value of the option that was pressed, and the label of the option that was pressed
// or typed.
type Input struct{ Text, Postback, Label string }

// Intent is an intent that was recognised, with a confidence of 0 to 1.
type Intent struct {
	Name       string
	Confidence float64
}

// Instance is the instance that the agent belongs to.
type Instance struct{ Slug, Name string }

// Agent is the agent that answers.
type Agent struct{ ID, Name string }

// Scope is the values of one turn, which change while it runs. The maps that it was made with are never written to. It is not safe
// for concurrent use.
type Scope struct {
	values Values
	spent  uint64

	ownContact, ownContext bool

	// CEL's forms of the maps, made when an expression first asks for them.
	contact, context ref.Val
}

// NewScope returns a scope of values.
func NewScope(values Values) *Scope { return &Scope{values: values} }

// Contact returns what is known about the person now. It must not be changed.
func (s *Scope) Contact() map[string]string { return s.values.Contact }

// Context returns what the flow keeps now. It must not be changed.
func (s *Scope) Context() map[string]*structpb.Value { return s.values.Context }

// SetContact keeps an attribute of the person; an empty value removes it.
func (s *Scope) SetContact(name, value string) {
	if !s.ownContact {
		s.values.Contact = maps.Clone(s.values.Contact)
		s.ownContact = true
	}
	s.contact = nil
	if value == "" {
		delete(s.values.Contact, name)
		return
	}
	if s.values.Contact == nil {
		s.values.Contact = make(map[string]string)
	}
	s.values.Contact[name] = value
}

// SetContext keeps a value of the conversation; nil removes it.
func (s *Scope) SetContext(name string, value *structpb.Value) {
	if !s.ownContext {
		s.values.Context = maps.Clone(s.values.Context)
		s.ownContext = true
	}
	s.context = nil
	if value == nil {
		delete(s.values.Context, name)
		return
	}
	if s.values.Context == nil {
		s.values.Context = make(map[string]*structpb.Value)
	}
	s.values.Context[name] = value
}

// SetInputLabel says which option the person picked.
func (s *Scope) SetInputLabel(label string) {
	s.values.Input.Label = label
}

// SetIntent says what the person wants.
func (s *Scope) SetIntent(intent Intent) { s.values.Intent = intent }

// Exhausted reports whether the evaluations have cost more than MaxScopeCost together; every further one gives nothing.
func (s *Scope) Exhausted() bool { return s.spent > MaxScopeCost }

// ResolveName implements CEL's Activation.
func (s *Scope) ResolveName(name string) (any, bool) {
	switch name {
	case varContact:
		if s.contact == nil {
			s.contact = types.NewStringStringMap(types.DefaultTypeAdapter, s.values.Contact)
		}
		return s.contact, true
	case varContext:
		if s.context == nil {
			s.context = types.NewJSONStruct(types.DefaultTypeAdapter, &structpb.Struct{Fields: s.values.Context})
		}
		return s.context, true
	case varInput:
		return record{inputType, &s.values}, true
	case varIntent:
		return record{intentType, &s.values}, true
	case varNow:
		return types.Timestamp{Time: s.values.Now}, true
	case varInstance:
		return record{instanceType, &s.values}, true
	case varAgent:
		return record{agentType, &s.values}, true
	default:
		return nil, false
	}
}

// Parent implements CEL's Activation.
func (s *Scope) Parent() cel.Activation { return nil }

var errExhausted = errors.New("the scope's cost is used up")

// evaluate runs p. Any error, of the expression, of its cost or of the context, is returned as it is: callers only care that there is
// no value.
func (s *Scope) evaluate(ctx context.Context, p *program) (ref.Val, error) {
	if s.Exhausted() {
		return nil, errExhausted
	}
	var (
		value   ref.Val
		details *cel.EvalDetails
		err     error
	)
	if p.loops {
		value, details, err = p.cel.ContextEval(ctx, s)
	} else {
		value, details, err = p.cel.Eval(s)
	}
	switch cost := details.ActualCost(); {
	case cost != nil:
		s.spent += *cost
	case err != nil:
		// The cost limit ends an evaluation without details.
		s.spent += MaxCost
	}
	return value, err
}

package rehearsal

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/fold"
)

// Outcome is how a case went.
type Outcome struct {
	// Case is its name, and Line where it begins in its file.
	Case string
	Line int
	// Differences are the turns that went otherwise than is written, none if the case went as written.
	Differences []Difference
}

// Difference is a turn that went otherwise than is written.
type Difference struct {
	// Turn is its number, from 1, and Input what the person did.
	Turn  int
	Input string
	// Lines are what was expected and what came: "- " before what is missing, "+ " before what came instead, "  " before what is both.
	Lines []string
}

// Run runs all cases of a file. The error says that the cases cannot be read, or that the context ended.
func Run(ctx context.Context, definition *agentv1.AgentDefinition, cases []byte) ([]Outcome, error) {
	s, err := parse(cases)
	if err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	program, err := flow.Compile(definition)
	if err != nil {
		return nil, err
	}
	if err := s.checkCalls(definition); err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	outcomes := make([]Outcome, len(s.Cases))
	for i := range s.Cases {
		c := &s.Cases[i]
		r := &run{
			program: program, scene: c, location: s.location, agentName: definition.GetDisplayName(), contact: maps.Clone(c.Contact),
			caller: newCaller(s.Calls, c.Calls),
		}
		if outcomes[i].Differences, err = r.all(ctx); err != nil {
			return nil, fmt.Errorf("run case %q: %w", c.Name, err)
		}
		outcomes[i].Case, outcomes[i].Line = c.Name, c.line
	}
	return outcomes, nil
}

// run is a case that runs.
type run struct {
	program   *flow.Program
	scene     *scene
	location  *time.Location
	agentName string
	caller    *caller

	contact map[string]string
	state   *agentv1.FlowState // nil: no conversation is open
	ids     int
}

func (r *run) all(ctx context.Context) ([]Difference, error) {
	var differences []Difference
	now := r.scene.begin
	for i := range r.scene.Turns {
		turn := &r.scene.Turns[i]
		now = now.Add(turn.after)
		input, shown, known := r.input(turn, now)
		if !known {
			return append(differences, Difference{Turn: i + 1, Input: shown, Lines: []string{"+ there is no such option"}}), nil
		}
		result, err := r.program.Run(ctx, input, flow.Discard)
		if err != nil {
			return nil, err
		}
		if lines := append(turn.compare(result), unanswered(result)...); lines != nil {
			differences = append(differences, Difference{Turn: i + 1, Input: shown, Lines: lines})
		}
		if err := r.keep(result); err != nil {
			return nil, err
		}
	}
	return differences, nil
}

// input is what a turn gives to the flow, and how that is shown; known is false when an option is to be pressed that was never offered.
func (r *run) input(e *exchange, now time.Time) (input flow.Turn, shown string, known bool) {
	input = flow.Turn{
		State: r.state, Opening: r.state == nil, Now: now, Location: r.location, InstanceSlug: "exemplo", InstanceName: "Exemplo",
		AgentID: "000000000000000000000000", AgentName: r.agentName, Attributes: r.contact, NewID: r.newID, Sent: sent(e.Sent),
		Caller: r.caller,
	}
	switch {
	case e.User != nil:
		input.Text = *e.User
		return input, "user: " + *e.User, true
	case e.Press != nil:
		input.Text, input.Postback, known = r.option(*e.Press)
		return input, "press: " + *e.Press, known
	default:
		input.NoInput = true
		return input, "(opened by a program)", true
	}
}

func (r *run) newID() string {
	r.ids++
	return fmt.Sprintf("%024x", r.ids)
}

// option finds an option of the newest menu that has one with this label.
func (r *run) option(label string) (text, postback string, found bool) {
	for _, menu := range slices.Backward(r.state.GetMenus()) {
		for _, option := range menu.GetOptions() {
			if fold.Equal(option.GetLabel(), label) {
				return option.GetLabel(), option.GetValue(), true
			}
		}
	}
	return "", "", false
}

// sent makes values of what YAML has; what JSON could not write is left out.
func sent(values map[string]any) map[string]*structpb.Value {
	made := make(map[string]*structpb.Value, len(values))
	for name, value := range values {
		if v, err := structpb.NewValue(value); err == nil {
			made[name] = v
		}
	}
	return made
}

// keep keeps what the store would: the state as bytes, and what was learned about the person.
func (r *run) keep(result *flow.Result) error {
	for name, value := range result.Attributes {
		if r.contact == nil {
			r.contact = make(map[string]string)
		}
		r.contact[name] = value
		if value == "" {
			delete(r.contact, name)
		}
	}
	r.state = nil
	if result.Finished {
		return nil
	}
	raw, err := proto.Marshal(result.State)
	if err != nil {
		return fmt.Errorf("encode flow state: %w", err)
	}
	r.state = &agentv1.FlowState{}
	return proto.Unmarshal(raw, r.state)
}

// compare gives the lines of a difference, none if the turn went as written.
func (e *exchange) compare(result *flow.Result) []string {
	var want, got []string
	if e.Bot != nil {
		want = append(want, prefixed("bot: ", *e.Bot)...)
		var said []string
		for _, m := range result.Messages {
			said = append(said, showMessage(m))
		}
		got = append(got, prefixed("bot: ", said)...)
	}
	if e.Events != nil {
		for _, event := range *e.Events {
			details := maps.Clone(event)
			delete(details, "name")
			want = append(want, showEvent(event["name"], details))
		}
		got = append(got, showEvents(result.Events)...)
	}
	if e.Called != nil {
		want, got = append(want, prefixed("call: ", *e.Called)...), append(got, prefixed("call: ", showCalls(result.Calls))...)
	}
	one := func(name string, wanted *string, came string) {
		if wanted != nil {
			want, got = append(want, name+*wanted), append(got, name+came)
		}
	}
	one("node: ", e.Node, result.Node)
	one("intent: ", e.Intent, result.Intent)
	for _, name := range slices.Sorted(maps.Keys(e.Context)) {
		value := e.Context[name]
		one("context."+name+": ", &value, showValue(result.Context[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Contact)) {
		value := e.Contact[name]
		one("contact."+name+": ", &value, contactOf(result)[name])
	}
	one("handoff: ", e.Handoff, result.State.GetHandoff().GetSquad())
	if e.End != nil {
		wanted := strconv.FormatBool(*e.End)
		one("end: ", &wanted, strconv.FormatBool(result.Finished))
	}
	return diff(want, got)
}

func prefixed(prefix string, lines []string) []string {
	all := make([]string, len(lines))
	for i, line := range lines {
		all[i] = prefix + line
	}
	return all
}

// contactOf is what is known about the person; of a finished conversation what the turn learned is all that is left.
func contactOf(result *flow.Result) map[string]string {
	if result.Finished {
		return result.Attributes
	}
	return result.State.GetContact()
}

// showValue writes a kept value: a text as it is, anything else as JSON.
func showValue(v *structpb.Value) string {
	if v == nil {
		return ""
	}
	if text, ok := v.GetKind().(*structpb.Value_StringValue); ok {
		return text.StringValue
	}
	raw, err := json.Marshal(v.AsInterface()) // protojson is not always the same
	if err != nil {
		return ""
	}
	return string(raw)
}

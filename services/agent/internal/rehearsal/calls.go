package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

// replies are the answers of another system: that of the first call, of the second, and so on, and then the last again. One alone need be
// no list.
type replies []flow.CallAnswer

// reply is an answer as it is written.
type reply struct {
	// Status is the HTTP status. Default: 200.
	Status *int `yaml:"status"`
	// JSON is an answer that is a value, and Text one that is text; neither is an empty one.
	JSON *any    `yaml:"json"`
	Text *string `yaml:"text"`
	// Error says that there is no answer: `timeout` or `network`.
	Error string `yaml:"error"`
}

// UnmarshalYAML reads one reply or a list of them.
func (r *replies) UnmarshalYAML(n *yaml.Node) error {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	for _, each := range nodes {
		answer, err := readReply(each)
		if err != nil {
			return fmt.Errorf("line %d: calls: %w", each.Line, err)
		}
		*r = append(*r, answer)
	}
	if len(*r) == 0 {
		return fmt.Errorf("line %d: calls: a list of answers has at least one", n.Line)
	}
	return nil
}

func readReply(n *yaml.Node) (flow.CallAnswer, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 { // Decode would ignore what it does not know
		if name := n.Content[i].Value; !slices.Contains([]string{"status", "json", "text", "error"}, name) {
			return flow.CallAnswer{}, fmt.Errorf("%q is unknown; there are status, json, text and error", name)
		}
	}
	var written reply
	if err := n.Decode(&written); err != nil {
		return flow.CallAnswer{}, err
	}
	return written.answer()
}

func (r *reply) answer() (flow.CallAnswer, error) {
	if r.Error != "" {
		outcome := flow.CallOutcome(r.Error)
		if r.Status != nil || r.JSON != nil || r.Text != nil || outcome != flow.CallTimeout && outcome != flow.CallNetwork {
			return flow.CallAnswer{}, errors.New("error is timeout or network, and stands alone")
		}
		return flow.CallAnswer{Outcome: outcome}, nil
	}
	answer := flow.CallAnswer{Outcome: flow.CallOK, Status: http.StatusOK}
	if r.Status != nil {
		answer.Status = *r.Status
	}
	switch {
	case r.JSON != nil && r.Text != nil:
		return flow.CallAnswer{}, errors.New("an answer is json or text")
	case answer.Status < 100 || answer.Status > 599:
		return flow.CallAnswer{}, errors.New("status must be from 100 to 599")
	case answer.Status < 200 || answer.Status > 299:
		answer.Outcome = flow.CallStatus
		return answer, nil
	}
	var err error
	if r.Text != nil {
		answer.Value = structpb.NewStringValue(*r.Text)
	} else if r.JSON != nil {
		answer.Value, err = structpb.NewValue(*r.JSON)
	}
	return answer, err
}

// checkCalls refuses answers for nodes that call nobody.
func (s *script) checkCalls(definition *agentv1.AgentDefinition) error {
	check := func(calls map[string]replies) error {
		for _, name := range slices.Sorted(maps.Keys(calls)) {
			if definition.GetNodes()[name].GetCall() == nil {
				return fmt.Errorf("calls: there is no node %q with a call", name)
			}
		}
		return nil
	}
	if err := check(s.Calls); err != nil {
		return err
	}
	for i := range s.Cases {
		if err := check(s.Cases[i].Calls); err != nil {
			return fmt.Errorf("line %d: case %q: %w", s.Cases[i].line, s.Cases[i].Name, err)
		}
	}
	return nil
}

// caller answers the calls of one case.
type caller struct {
	replies map[string]replies
	made    map[string]int
}

func newCaller(general, own map[string]replies) *caller {
	all := maps.Clone(general)
	if all == nil {
		all = make(map[string]replies)
	}
	maps.Copy(all, own)
	return &caller{replies: all, made: make(map[string]int)}
}

// Call implements flow.Caller.
func (c *caller) Call(_ context.Context, r *flow.CallRequest) flow.CallAnswer {
	written := c.replies[r.Node]
	if len(written) == 0 {
		return flow.CallAnswer{Outcome: flow.CallUnmade}
	}
	c.made[r.Node]++
	return written[min(c.made[r.Node], len(written))-1]
}

// unanswered are the lines of a difference for calls that the cases have no answer for: how the flow goes on behind them says nothing.
func unanswered(result *flow.Result) []string {
	var lines []string
	for i := range result.Calls {
		if called := &result.Calls[i]; called.Outcome == flow.CallUnmade {
			lines = append(lines, "+ call: "+showCall(called), "+ there is no answer for "+called.Node+" in calls")
		}
	}
	return lines
}

func showCalls(all []flow.Called) []string {
	shown := make([]string, len(all))
	for i := range all {
		shown[i] = showCall(&all[i])
	}
	return shown
}

// showCall writes a call in a line: method, URL and body, or that the values that there were made no request.
func showCall(c *flow.Called) string {
	if c.Request == nil {
		return c.Node + " could not be sent"
	}
	shown := c.Request.Method + " " + c.Request.URL
	if c.Request.Body != "" {
		shown += " " + c.Request.Body
	}
	return shown
}

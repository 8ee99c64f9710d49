package flow

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/answer"
)

// maxOutcome is how many characters of a call's answer a model hears.
const maxOutcome = 16 << 10

// shownExamples is how many examples of an intent or of a curated answer a model is told.
const shownExamples = 10

// tool is something that the model of a program may use: one of intent, answer and call is set.
type tool struct {
	intent    *intent
	answer    *say
	call      *node
	arguments []argument
}

// argument is a value that a model gives.
type argument struct {
	name, as string
	kind     answer.Kind
}

// tools finds what the names stand for: an intent, an answer, or a node with a call.
func (c *compiler) tools(def *agentv1.AgentDefinition, k *knowledge) (map[string]*tool, []Tool, error) {
	byName := make(map[string]*tool)
	var described []Tool
	for _, name := range def.GetModel().GetTools() {
		found, description, node := &tool{}, "", (*agentv1.Node)(nil)
		for i, one := range def.GetIntents() {
			if one.GetName() == name {
				found.intent, node = &k.intents[i], def.GetNodes()[one.GetGoto()]
				description = "A pessoa quer dizer, por exemplo: " + examples(one.GetExamples())
			}
		}
		for i, one := range def.GetAnswers() {
			if one.GetName() == name {
				found.answer, description = &k.answers[i], "Dá a resposta a: "+examples(one.GetQuestions())
			}
		}
		if one := def.GetNodes()[name]; found.intent == nil && found.answer == nil && one.GetCall() != nil {
			found.call, node, description = c.nodes[name], one, name
		}
		if found.intent == nil && found.answer == nil && found.call == nil {
			return nil, nil, fmt.Errorf("compile tool %s: no intent, answer or node with a call has this name", name)
		}
		if node.GetDescription() != "" {
			description = node.GetDescription()
		}
		parameters, err := found.take(node)
		if err != nil {
			return nil, nil, fmt.Errorf("compile tool %s: %w", name, err)
		}
		byName[name] = found
		described = append(described, Tool{Name: name, Description: description, Parameters: parameters})
	}
	return byName, described, nil
}

func examples(all []string) string { return strings.Join(all[:min(len(all), shownExamples)], "; ") }

// take makes a tool take the arguments of a node, and gives their schema.
func (t *tool) take(node *agentv1.Node) (map[string]any, error) {
	properties, required := make(map[string]any), make([]string, 0, len(node.GetArguments()))
	for _, name := range sortedKeys(node.GetArguments()) {
		def := node.GetArguments()[name]
		one := argument{name: name, as: def.GetAs()}
		if one.as == "" {
			one.as = answer.Text
		}
		var err error
		if one.kind, err = answer.Parse(one.as); err != nil {
			return nil, fmt.Errorf("argument %s: %w", name, err)
		}
		t.arguments = append(t.arguments, one)
		description := def.GetDescription()
		if description == "" {
			description = name
		}
		properties[name] = map[string]any{"type": "string", "description": description}
		required = append(required, name)
	}
	return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}, nil
}

// values reads the arguments that a model gave. The refusal is for the model, "" if there is nothing to refuse.
func (r *run) values(t *tool, raw string) (values []string, refusal string) {
	given := map[string]jsontext.Value{}
	if strings.TrimSpace(raw) != "" {
		if err := json.Unmarshal([]byte(raw), &given); err != nil || given == nil {
			return nil, "error: the arguments must be a JSON object"
		}
	}
	for i := range t.arguments {
		one := &t.arguments[i]
		text, ok := argumentText(given[one.name])
		if ok {
			text, ok = one.kind.Normalise(cut(text, maxText), r.now)
		}
		if !ok {
			return nil, "error: " + one.name + " must be a valid value of kind " + one.as
		}
		values = append(values, text)
		delete(given, one.name)
	}
	if len(given) > 0 {
		return nil, "error: there are arguments that this tool does not have"
	}
	return values, ""
}

// argumentText is a value as a person would type it.
func argumentText(raw jsontext.Value) (string, bool) {
	switch raw.Kind() {
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		text = strings.Map(printable, text)
		return text, err == nil && !blank(text)
	case '0', 't', 'f':
		return string(raw), true
	default:
		return "", false
	}
}

// use does what the model wants with its tools, in order, and adds what came of it to the prompt. It reports whether the model has
// nothing to say any more: an intent leads elsewhere, and an answer is one.
func (r *run) use(p *Prompt, reply *Reply) (done bool) {
	for i := range reply.Uses {
		reply.Uses[i].ID = fmt.Sprintf("use_%d_%d", len(p.Messages), i)
	}
	p.Messages = append(p.Messages, Utterance{Role: RoleAgent, Text: reply.Text, Uses: reply.Uses})
	done = true
	for i := range reply.Uses {
		one := &reply.Uses[i]
		outcome, ends := r.useOne(one)
		if ends && outcome == "" || r.result.Stopped != "" {
			return true
		}
		done = done && ends
		p.Messages = append(p.Messages, Utterance{Role: RoleTool, Text: outcome, UseID: one.ID})
	}
	return done
}

// useOne uses a tool. The outcome is for the model, and "" when the flow went on at a node; ends says that it need not hear of it.
func (r *run) useOne(u *Use) (outcome string, ends bool) {
	t := r.model.tools[u.Tool]
	if t == nil {
		return "error: there is no such tool", false
	}
	values, refusal := r.values(t, u.Arguments)
	if refusal != "" {
		return refusal, false
	}
	for i, value := range values {
		r.keep(place{name: t.arguments[i].name}, value)
	}
	switch {
	case t.answer != nil:
		r.sendWords(t.answer)
		return "the person was told", true
	case t.intent != nil:
		r.result.Intent, r.result.Confidence = t.intent.name, 1
		r.scope.SetIntent(expr.Intent{Name: t.intent.name, Confidence: 1})
		r.enter(t.intent.target)
		return "", true
	default:
		return r.callFor(t.call), false
	}
}

// callFor makes a node's call, and gives what came of it as the model hears it.
func (r *run) callFor(n *node) string {
	if !r.call(n) {
		return "error: the call failed"
	}
	name := n.call.save.name
	if name == "" {
		return "done"
	}
	raw, err := json.Marshal(r.scope.Context()[name].AsInterface(), json.Deterministic(true))
	if err != nil {
		return "done"
	}
	return cut(string(raw), maxOutcome)
}

package flow

import agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"

// Gap is something that a definition uses and this version does not run.
type Gap struct {
	// Node is the name of the node that uses it, "" if it is not in a node.
	Node string
	// Field is the path of what is used, from the node or from the definition.
	Field string
	// Reason says that it is not available.
	Reason string
}

// gap is a line of the lists below.
type gap[T any] struct {
	field, reason string
	uses          func(T) bool
}

// What this version does not run. This is the only list: whoever makes one of it work deletes its line.
var (
	definitionGaps = []gap[*agentv1.AgentDefinition]{
		{"model", "a model is not available in this version", func(d *agentv1.AgentDefinition) bool { return d.GetModel() != nil }},
	}
	nodeGaps = []gap[*agentv1.Node]{
		{"call", "calls are not available in this version", func(n *agentv1.Node) bool { return n.GetCall() != nil }},
	}
)

// Gaps finds what a definition uses and this version does not run. Compile refuses a definition that has any.
func Gaps(def *agentv1.AgentDefinition) []Gap {
	var found []Gap
	for _, line := range definitionGaps {
		if line.uses(def) {
			found = append(found, Gap{Field: line.field, Reason: line.reason})
		}
	}
	for _, name := range sortedKeys(def.GetNodes()) {
		for _, line := range nodeGaps {
			if line.uses(def.GetNodes()[name]) {
				found = append(found, Gap{Node: name, Field: line.field, Reason: line.reason})
			}
		}
	}
	return found
}

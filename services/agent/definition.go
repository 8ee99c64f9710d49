package agent

import (
	"errors"

	"github.com/prosa-chat/prosa/services/agent/internal/definition"
)

// Fault is one thing that is wrong with a definition: its place in the source, the field, and the reason. Its text is
// `line:column: field: reason`.
type Fault = definition.Fault

// CheckDefinition reports everything that is wrong with a definition written as YAML or JSON, in the order of the source. None
// means that it can be published.
func CheckDefinition(source []byte) []Fault {
	_, err := definition.ParseYAML(source)
	var faults definition.Faults
	switch {
	case err == nil:
		return nil
	case errors.As(err, &faults):
		return faults
	default:
		return []Fault{{Reason: err.Error()}}
	}
}

package agent

import (
	"context"

	"github.com/prosa-chat/prosa/services/agent/internal/definition"
	"github.com/prosa-chat/prosa/services/agent/internal/rehearsal"
)

// Outcome is how a case went: its name, the line where it begins, and the turns that went otherwise than is written.
type Outcome = rehearsal.Outcome

// Rehearse runs conversations that are written as cases (YAML; the README says how) against a definition, without a store or a network,
// and reports how each went, in their order. The error says what is wrong with the definition or the cases, or that the context ended.
func Rehearse(ctx context.Context, source, cases []byte) ([]Outcome, error) {
	def, err := definition.ParseYAML(source)
	if err != nil {
		return nil, err
	}
	return rehearsal.Run(ctx, def, cases)
}

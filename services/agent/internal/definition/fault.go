// Package definition reads agent definitions, YAML or JSON, and finds everything that is wrong with one, at once and with its place.
package definition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is something that is wrong with a definition.
type Fault struct {
	// Line and Column are its place in the source, from 1. Both are 0 when the source was an object and not a text.
	Line, Column int
	// Field is the path of the field, with names as in JSON: `nodes.welcome.say[1].buttons.options[0].goto`. Keys that are no identifiers
	// are written as `set["context.name"]`. It is empty when the document as a whole is wrong.
	Field string
	// Reason says what is wrong, in a sentence without an end.
	Reason string
}

// String gives the fault in one line.
func (f Fault) String() string {
	var out strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&out, "%d:%d: ", f.Line, f.Column)
	}
	if f.Field != "" {
		out.WriteString(f.Field + ": ")
	}
	out.WriteString(f.Reason)
	return out.String()
}

// Faults is all that is wrong with a definition, in the order of the source and then of the fields. As an error it is never empty.
type Faults []Fault

// Error implements error.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// err gives the faults as an error, nil if there are none.
func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// sorted orders the faults and drops repeated ones.
func (f Faults) sorted() Faults {
	slices.SortFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(f)
}

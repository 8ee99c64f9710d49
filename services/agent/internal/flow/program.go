// Package flow runs agent definitions: one turn of a conversation in, the answer and the conversation's next state out. It keeps
// nothing, and takes time and identifiers from its caller, and what acts outside, models and calls of other systems, as interfaces: a
// turn that is run again gives the same if these do.
package flow

import (
	"maps"
	"slices"
	"strings"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/answer"
)

// Program is a compiled definition. It is safe for concurrent use.
type Program struct {
	start     *node // nil: none
	fallback  *node // nil: none
	nodes     map[string]*node
	runsStale bool
	knows     knowledge
	model     *modelling // nil: none
	remote    *agentv1.Remote
}

// node is a compiled node.
type node struct {
	name     string
	call     *call
	set      []assignment
	say      []say
	event    *event
	ask      *ask
	branches []branch
	next     *node // where goto leads, nil: no goto
	handoff  *agentv1.OpenHandoff
	end      bool
}

// assignment keeps a value.
type assignment struct {
	to    place
	value expr.Template
}

// place is where a value is kept.
type place struct {
	contact bool // else in the context
	name    string
}

// say is a message to be said.
type say struct {
	content content
	text    expr.Template // the words, the question, or the caption
	// Menus only.
	title     expr.Template
	sections  []section
	sectioned bool // the list has labelled sections
	// Media only.
	kind           messagev1.Media_Kind
	link, filename expr.Template
}

// content is what a message shows.
type content int

const (
	contentText content = iota
	contentDate
	contentButtons
	contentList
	contentMedia
)

// section is a group of options; buttons and simple lists have one.
type section struct {
	label expr.Template
	items []option
}

// option is something to pick.
type option struct {
	label, description expr.Template
	target             string // a node's name, "" if it has none of its own
}

// event is something to report.
type event struct {
	name    string
	details []detail
}

type detail struct {
	name  string
	value expr.Template
}

// ask is a question.
type ask struct {
	prompt say
	save   place
	kind   answer.Kind
	tries  int32
	retry  []say
	giveUp *node // nil: the fallback
}

// branch is a way out.
type branch struct {
	when   expr.Condition
	target *node
}

const (
	defaultTitle     = "Selecionar"
	defaultTries     = 3
	defaultSquad     = "geral"
	defaultThreshold = 0.6
)

// Compile makes a program of a definition. The error says the first thing that is wrong; a definition that definition.Check has no
// fault to find in always compiles.
func Compile(def *agentv1.AgentDefinition) (*Program, error) {
	compiler, err := newCompiler(def)
	if err != nil {
		return nil, err
	}
	return compiler.program(def)
}

// Remote is the program of the team that answers in place of the flow, nil if there is none. It must not be changed.
func (p *Program) Remote() *agentv1.Remote { return p.remote }

// Size is about how many bytes the program's index of intents, answers and passages takes; 0 if it has none. The rest of a program is
// small beside it.
func (p *Program) Size() int { return p.knows.index.Size() }

// parsePlace reads a name as `set` and `save` have it.
func parsePlace(name string) (place, bool) {
	if rest, found := strings.CutPrefix(name, "contact."); found {
		return place{contact: true, name: rest}, rest != ""
	}
	rest, found := strings.CutPrefix(name, "context.")
	return place{name: rest}, found && rest != ""
}

// sortedKeys gives the keys of a map in order: what is done in no order must still be done in the same order each time.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

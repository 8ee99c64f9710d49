package definition

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/answer"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/request"
)

// finding is a fault without its place.
type finding struct {
	field  path
	key    bool // the name of the field is wrong, not its value
	reason string
}

// checker finds what is wrong with one definition.
type checker struct {
	def      *agentv1.AgentDefinition
	exprs    *expr.Compiler
	findings []finding
}

// check finds everything that is wrong. whole says that the definition is all that was written; if it is not, a node that seems out of
// reach may be one whose goto could not be read.
func check(def *agentv1.AgentDefinition, whole bool) []finding {
	exprs, err := expr.NewCompiler()
	if err != nil {
		return []finding{{reason: err.Error()}}
	}
	c := &checker{def: def, exprs: exprs, findings: rules(def)}
	c.knowledge()
	for _, name := range slices.Sorted(maps.Keys(def.GetNodes())) {
		c.node(nodePath(name), def.GetNodes()[name])
	}
	c.model()
	c.remote()
	c.targets()
	if whole {
		c.unreachable()
	}
	c.loops()
	return c.findings
}

func nodePath(name string) path { return path("nodes").key(name) }

func (c *checker) fault(at path, format string, args ...any) {
	c.findings = append(c.findings, finding{field: at, reason: fmt.Sprintf(format, args...)})
}

// knowledge finds what is wrong with intents and answers.
func (c *checker) knowledge() {
	names := make(map[string]bool)
	for i, intent := range c.def.GetIntents() {
		if names[intent.GetName()] {
			c.fault(path("intents").index(i).field("name"), "there is another intent %q", intent.GetName())
		}
		names[intent.GetName()] = true
	}
	for i, answer := range c.def.GetAnswers() {
		c.template(path("answers").index(i).field("text"), answer.GetText())
	}
}

func (c *checker) node(at path, n *agentv1.Node) {
	if n.GetCall() != nil {
		c.call(at.field("call"), n.GetCall())
	}
	for _, name := range slices.Sorted(maps.Keys(n.GetSet())) {
		c.template(at.field("set").key(name), n.GetSet()[name])
	}
	for i, say := range n.GetSay() {
		c.say(at.field("say").index(i), say)
	}
	for _, name := range slices.Sorted(maps.Keys(n.GetArguments())) {
		c.as(at.field("arguments").key(name).field("as"), n.GetArguments()[name].GetAs())
	}
	details := n.GetEvent().GetDetails()
	for _, name := range slices.Sorted(maps.Keys(details)) {
		c.template(at.field("event").field("details").key(name), details[name])
	}
	if n.GetAsk() != nil {
		c.ask(at.field("ask"), n.GetAsk())
	}
	for i, branch := range n.GetBranch() {
		_, err := c.exprs.Condition(branch.GetWhen())
		c.expression(at.field("branch").index(i).field("when"), err)
	}
	c.waysOut(at, n)
}

func (c *checker) waysOut(at path, n *agentv1.Node) {
	var ways []string
	for _, way := range []struct {
		name string
		used bool
	}{
		{"branch", len(n.GetBranch()) > 0},
		{"goto", n.GetGoto() != ""},
		{"handoff", n.GetHandoff() != nil},
		{"end", n.GetEnd()},
	} {
		if way.used {
			ways = append(ways, way.name)
		}
	}
	if len(ways) > 1 {
		c.fault(at, "more than one way out: %s", strings.Join(ways, ", "))
	}
}

func (c *checker) say(at path, say *agentv1.Say) {
	switch content := say.GetContent().(type) {
	case *agentv1.Say_Text:
		c.template(at.field("text"), content.Text)
	case *agentv1.Say_Date:
		c.template(at.field("date"), content.Date)
	case *agentv1.Say_Buttons:
		at = at.field("buttons")
		c.template(at.field("text"), content.Buttons.GetText())
		c.options(at.field("options"), content.Buttons.GetOptions())
	case *agentv1.Say_List:
		c.list(at.field("list"), content.List)
	case *agentv1.Say_Media:
		c.media(at.field("media"), content.Media)
	}
}

func (c *checker) list(at path, list *agentv1.SayList) {
	c.template(at.field("text"), list.GetText())
	c.template(at.field("title"), list.GetTitle())
	c.options(at.field("items"), list.GetItems())
	for i, section := range list.GetSections() {
		at := at.field("sections").index(i)
		c.template(at.field("label"), section.GetLabel())
		c.options(at.field("items"), section.GetItems())
	}
}

func (c *checker) options(at path, options []*agentv1.SayOption) {
	for i, option := range options {
		c.template(at.index(i).field("label"), option.GetLabel())
		c.template(at.index(i).field("description"), option.GetDescription())
	}
}

func (c *checker) media(at path, media *agentv1.SayMedia) {
	c.template(at.field("filename"), media.GetFilename())
	c.template(at.field("text"), media.GetText())
	link, err := c.exprs.Template(media.GetLink())
	c.expression(at.field("link"), err)
	if written, static := link.Static(); err == nil && static && written != "" && !flow.ValidLink(written) {
		c.fault(at.field("link"), "must be an absolute http or https URL without user information")
	}
}

func (c *checker) ask(at path, ask *agentv1.Ask) {
	switch prompt := ask.GetPrompt().(type) {
	case *agentv1.Ask_Text:
		c.template(at.field("text"), prompt.Text)
	case *agentv1.Ask_Date:
		c.template(at.field("date"), prompt.Date)
	}
	for i, retry := range ask.GetRetry() {
		c.template(at.field("retry").index(i), retry)
	}
	c.as(at.field("as"), ask.GetAs())
}

// as finds what is wrong with the kind of an answer or an argument.
func (c *checker) as(at path, as string) {
	if _, err := answer.Parse(as); as != "" && err != nil && !c.found(at) {
		c.fault(at, "%s", err)
	}
}

func (c *checker) call(at path, call *agentv1.Call) {
	_, faults := request.Compile(c.exprs, call)
	for _, fault := range faults {
		field := at.field(fault.Field)
		if fault.Key != "" {
			field = field.key(fault.Key)
		}
		if !c.found(field) {
			c.expression(field, fault.Err)
		}
	}
}

// found reports whether something is wrong with a field already.
func (c *checker) found(at path) bool {
	return slices.ContainsFunc(c.findings, func(f finding) bool { return f.field == at })
}

func (c *checker) template(at path, text string) {
	_, err := c.exprs.Template(text)
	c.expression(at, err)
}

// expression reports the faults of a template or a condition.
func (c *checker) expression(at path, err error) {
	if err == nil {
		return
	}
	var faults expr.Errors
	if !errors.As(err, &faults) {
		c.fault(at, "%s", err)
		return
	}
	for _, fault := range faults {
		c.fault(at, "%s", fault)
	}
}

package flow

import (
	"errors"
	"fmt"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
	"github.com/prosa-chat/prosa/services/agent/internal/flow/answer"
)

// compiler compiles one definition.
type compiler struct {
	exprs *expr.Compiler
	nodes map[string]*node
}

// newCompiler makes the nodes, empty, so that they can point at each other.
func newCompiler(def *agentv1.AgentDefinition) (*compiler, error) {
	exprs, err := expr.NewCompiler()
	if err != nil {
		return nil, err
	}
	nodes := make(map[string]*node, len(def.GetNodes()))
	for name := range def.GetNodes() {
		nodes[name] = &node{name: name}
	}
	return &compiler{exprs: exprs, nodes: nodes}, nil
}

func (c *compiler) program(def *agentv1.AgentDefinition) (*Program, error) {
	p := &Program{nodes: c.nodes, runsStale: def.GetRunStaleOptions()}
	var err error
	if p.start, err = c.target(def.GetStart()); err != nil {
		return nil, fmt.Errorf("compile start: %w", err)
	}
	if p.fallback, err = c.target(def.GetFallback()); err != nil {
		return nil, fmt.Errorf("compile fallback: %w", err)
	}
	for _, name := range sortedKeys(def.GetNodes()) {
		if err := c.node(c.nodes[name], def.GetNodes()[name]); err != nil {
			return nil, fmt.Errorf("compile node %s: %w", name, err)
		}
	}
	if p.knows, err = c.knowledge(def); err != nil {
		return nil, err
	}
	if p.model, err = c.model(def, &p.knows); err != nil {
		return nil, err
	}
	p.remote = def.GetRemote()
	return p, nil
}

// target finds a node by its name; none has the name "".
func (c *compiler) target(name string) (*node, error) {
	if name == "" {
		return nil, nil
	}
	if n, ok := c.nodes[name]; ok {
		return n, nil
	}
	return nil, fmt.Errorf("no node %q", name)
}

func (c *compiler) node(n *node, def *agentv1.Node) error {
	var err error
	if n.call, err = c.call(def.GetCall()); err != nil {
		return fmt.Errorf("call: %w", err)
	}
	for _, name := range sortedKeys(def.GetSet()) {
		to, ok := parsePlace(name)
		if !ok {
			return fmt.Errorf("set %q: the name must begin with `context.` or `contact.`", name)
		}
		value, err := c.exprs.Template(def.GetSet()[name])
		if err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		n.set = append(n.set, assignment{to: to, value: value})
	}
	for i, one := range def.GetSay() {
		compiled, err := c.say(one)
		if err != nil {
			return fmt.Errorf("say %d: %w", i, err)
		}
		n.say = append(n.say, compiled)
	}
	if n.event, err = c.event(def.GetEvent()); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	if n.ask, err = c.ask(def.GetAsk()); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	for i, one := range def.GetBranch() {
		compiled, err := c.branch(one)
		if err != nil {
			return fmt.Errorf("branch %d: %w", i, err)
		}
		n.branches = append(n.branches, compiled)
	}
	if n.next, err = c.target(def.GetGoto()); err != nil {
		return fmt.Errorf("goto: %w", err)
	}
	n.handoff = handoff(n.name, def.GetHandoff())
	n.end = def.GetEnd()
	return nil
}

func (c *compiler) branch(def *agentv1.Branch) (branch, error) {
	when, err := c.exprs.Condition(def.GetWhen())
	if err != nil {
		return branch{}, fmt.Errorf("when: %w", err)
	}
	target, err := c.target(def.GetGoto())
	if err != nil {
		return branch{}, err
	}
	if target == nil {
		return branch{}, errors.New("no goto")
	}
	return branch{when: when, target: target}, nil
}

func (c *compiler) event(def *agentv1.EventAction) (*event, error) {
	if def == nil {
		return nil, nil
	}
	e := &event{name: def.GetName()}
	for _, name := range sortedKeys(def.GetDetails()) {
		value, err := c.exprs.Template(def.GetDetails()[name])
		if err != nil {
			return nil, fmt.Errorf("detail %q: %w", name, err)
		}
		e.details = append(e.details, detail{name: name, value: value})
	}
	return e, nil
}

func (c *compiler) ask(def *agentv1.Ask) (*ask, error) {
	if def == nil {
		return nil, nil
	}
	prompt, words, as := contentText, def.GetText(), answer.Text
	if _, isDate := def.GetPrompt().(*agentv1.Ask_Date); isDate {
		prompt, words, as = contentDate, def.GetDate(), answer.Date
	}
	if def.GetAs() != "" {
		as = def.GetAs()
	}
	a := &ask{tries: def.GetTries()}
	if a.tries == 0 {
		a.tries = defaultTries
	}
	var err error
	if a.kind, err = answer.Parse(as); err != nil {
		return nil, fmt.Errorf("as: %w", err)
	}
	var ok bool
	if a.save, ok = parsePlace(def.GetSave()); !ok {
		return nil, errors.New("save: the name must begin with `context.` or `contact.`")
	}
	if a.prompt, err = c.words(prompt, words); err != nil {
		return nil, err
	}
	// A retry looks like the question, so that who answers with a date picker keeps it.
	for i, retry := range def.GetRetry() {
		compiled, err := c.words(prompt, retry)
		if err != nil {
			return nil, fmt.Errorf("retry %d: %w", i, err)
		}
		a.retry = append(a.retry, compiled)
	}
	if a.giveUp, err = c.target(def.GetGiveUp()); err != nil {
		return nil, fmt.Errorf("giveUp: %w", err)
	}
	return a, nil
}

// words makes a message of text alone.
func (c *compiler) words(shown content, text string) (say, error) {
	compiled, err := c.exprs.Template(text)
	return say{content: shown, text: compiled}, err
}

func (c *compiler) say(def *agentv1.Say) (say, error) {
	switch content := def.GetContent().(type) {
	case *agentv1.Say_Text:
		return c.words(contentText, content.Text)
	case *agentv1.Say_Date:
		return c.words(contentDate, content.Date)
	case *agentv1.Say_Buttons:
		return c.menu(contentButtons, content.Buttons.GetText(), "",
			[]*agentv1.SaySection{{Items: content.Buttons.GetOptions()}})
	case *agentv1.Say_List:
		return c.list(content.List)
	case *agentv1.Say_Media:
		return c.media(content.Media)
	default:
		return say{}, errors.New("no content")
	}
}

func (c *compiler) list(def *agentv1.SayList) (say, error) {
	title := def.GetTitle()
	if title == "" {
		title = defaultTitle
	}
	sections := def.GetSections()
	if len(sections) == 0 {
		sections = []*agentv1.SaySection{{Items: def.GetItems()}}
	}
	menu, err := c.menu(contentList, def.GetText(), title, sections)
	menu.sectioned = len(def.GetSections()) > 0
	return menu, err
}

func (c *compiler) menu(shown content, text, title string, sections []*agentv1.SaySection) (say, error) {
	menu, err := c.words(shown, text)
	if err != nil {
		return say{}, err
	}
	if menu.title, err = c.exprs.Template(title); err != nil {
		return say{}, fmt.Errorf("title: %w", err)
	}
	for _, one := range sections {
		compiled := section{}
		if compiled.label, err = c.exprs.Template(one.GetLabel()); err != nil {
			return say{}, fmt.Errorf("section: %w", err)
		}
		for i, item := range one.GetItems() {
			made, err := c.option(item)
			if err != nil {
				return say{}, fmt.Errorf("option %d: %w", i, err)
			}
			compiled.items = append(compiled.items, made)
		}
		menu.sections = append(menu.sections, compiled)
	}
	return menu, nil
}

func (c *compiler) option(def *agentv1.SayOption) (option, error) {
	if _, err := c.target(def.GetGoto()); err != nil {
		return option{}, err
	}
	label, err := c.exprs.Template(def.GetLabel())
	if err != nil {
		return option{}, fmt.Errorf("label: %w", err)
	}
	description, err := c.exprs.Template(def.GetDescription())
	if err != nil {
		return option{}, fmt.Errorf("description: %w", err)
	}
	return option{label: label, description: description, target: def.GetGoto()}, nil
}

// mediaKinds are the kinds of media by their names in a definition.
var mediaKinds = map[string]messagev1.Media_Kind{
	"image":    messagev1.Media_KIND_IMAGE,
	"video":    messagev1.Media_KIND_VIDEO,
	"audio":    messagev1.Media_KIND_AUDIO,
	"document": messagev1.Media_KIND_DOCUMENT,
	"sticker":  messagev1.Media_KIND_STICKER,
}

func (c *compiler) media(def *agentv1.SayMedia) (say, error) {
	kind, ok := mediaKinds[def.GetType()]
	if !ok {
		return say{}, fmt.Errorf("no media type %q", def.GetType())
	}
	media, err := c.words(contentMedia, def.GetText())
	if err != nil {
		return say{}, err
	}
	media.kind = kind
	if media.link, err = c.exprs.Template(def.GetLink()); err != nil {
		return say{}, fmt.Errorf("link: %w", err)
	}
	if media.filename, err = c.exprs.Template(def.GetFilename()); err != nil {
		return say{}, fmt.Errorf("filename: %w", err)
	}
	return media, nil
}

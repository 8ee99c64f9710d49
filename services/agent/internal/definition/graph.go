package definition

import (
	"maps"
	"slices"
	"strings"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// edge leads from a node, or from the definition itself, to a node.
type edge struct {
	at     path // the field that names the target
	target string
}

// roots are the nodes that a conversation can come to from nowhere.
func roots(def *agentv1.AgentDefinition) []edge {
	edges := []edge{{"start", def.GetStart()}, {"fallback", def.GetFallback()}}
	for i, intent := range def.GetIntents() {
		edges = append(edges, edge{path("intents").index(i).field("goto"), intent.GetGoto()})
	}
	for i, tool := range def.GetModel().GetTools() {
		if def.GetNodes()[tool].GetCall() != nil {
			edges = append(edges, edge{path("model").field("tools").index(i), tool})
		}
	}
	return slices.DeleteFunc(edges, func(e edge) bool { return e.target == "" })
}

// onward are the edges that a turn follows by itself: that of a call that fails, and when the node does not wait its way out.
func onward(at path, n *agentv1.Node) []edge {
	var edges []edge
	if failed := n.GetCall().GetOnError(); failed != "" {
		edges = append(edges, edge{at.field("call").field("onError"), failed})
	}
	if !waits(n) {
		edges = append(edges, waysOut(at, n)...)
	}
	return edges
}

// waysOut are the edges that a node takes when it is done.
func waysOut(at path, n *agentv1.Node) []edge {
	var edges []edge
	for i, branch := range n.GetBranch() {
		edges = append(edges, edge{at.field("branch").index(i).field("goto"), branch.GetGoto()})
	}
	edges = append(edges, edge{at.field("goto"), n.GetGoto()})
	return slices.DeleteFunc(edges, func(e edge) bool { return e.target == "" })
}

// edges are all edges of a node.
func edges(at path, n *agentv1.Node) []edge {
	all := waysOut(at, n)
	options := func(at path, options []*agentv1.SayOption) {
		for i, option := range options {
			all = append(all, edge{at.index(i).field("goto"), option.GetGoto()})
		}
	}
	for i, say := range n.GetSay() {
		at := at.field("say").index(i)
		options(at.field("buttons").field("options"), say.GetButtons().GetOptions())
		options(at.field("list").field("items"), say.GetList().GetItems())
		for j, section := range say.GetList().GetSections() {
			options(at.field("list").field("sections").index(j).field("items"), section.GetItems())
		}
	}
	all = append(all,
		edge{at.field("ask").field("giveUp"), n.GetAsk().GetGiveUp()},
		edge{at.field("call").field("onError"), n.GetCall().GetOnError()},
	)
	return slices.DeleteFunc(all, func(e edge) bool { return e.target == "" })
}

// waits reports whether a node waits for the person before its way out.
func waits(n *agentv1.Node) bool {
	return n.GetAsk() != nil || slices.ContainsFunc(n.GetSay(), func(say *agentv1.Say) bool {
		return say.GetButtons() != nil || say.GetList() != nil
	})
}

// names are the names of the nodes in order.
func (c *checker) names() []string { return slices.Sorted(maps.Keys(c.def.GetNodes())) }

// targets finds edges that lead nowhere.
func (c *checker) targets() {
	all := roots(c.def)
	for _, name := range c.names() {
		all = append(all, edges(nodePath(name), c.def.GetNodes()[name])...)
	}
	for _, e := range all {
		if _, ok := c.def.GetNodes()[e.target]; !ok {
			c.fault(e.at, "there is no node %q", e.target)
		}
	}
}

// unreachable finds nodes that no conversation can come to.
func (c *checker) unreachable() {
	entries := roots(c.def)
	if len(entries) == 0 {
		if len(c.def.GetNodes()) > 0 {
			c.fault("nodes", "no node can be reached: neither start nor fallback is set, and there are no intents")
		}
		return
	}
	reached := make(map[string]bool)
	for len(entries) > 0 {
		name := entries[len(entries)-1].target
		entries = entries[:len(entries)-1]
		if n, ok := c.def.GetNodes()[name]; ok && !reached[name] {
			reached[name] = true
			entries = append(entries, edges(nodePath(name), n)...)
		}
	}
	for _, name := range c.names() {
		if !reached[name] {
			c.findings = append(c.findings, finding{field: nodePath(name), key: true, reason: "the node cannot be reached"})
		}
	}
}

// loops finds ways that lead from a node back to it without waiting for the person. Of nodes that lie on several such ways one is
// reported.
func (c *checker) loops() {
	on := make(map[string][]edge)
	for name, n := range c.def.GetNodes() {
		on[name] = onward(nodePath(name), n)
	}
	reported := make(map[string]bool)
	for _, name := range c.names() {
		if reported[name] {
			continue
		}
		way := wayBack(on, name)
		if way == nil {
			continue
		}
		circle := []string{name}
		for _, e := range way {
			reported[e.target] = true
			circle = append(circle, e.target)
		}
		c.fault(way[0].at, "a loop without a question: %s", strings.Join(circle, " → "))
	}
}

// wayBack finds a shortest way from a node to itself, nil if there is none.
func wayBack(on map[string][]edge, from string) []edge {
	type step struct {
		edge
		before int // the step that led here, -1 for the first
	}
	var steps []step
	add := func(name string, before int) {
		for _, e := range on[name] {
			steps = append(steps, step{e, before})
		}
	}
	add(from, -1)
	seen := make(map[string]bool)
	for i := 0; i < len(steps); i++ {
		target := steps[i].target
		if target == from {
			var way []edge
			for j := i; j >= 0; j = steps[j].before {
				way = append(way, steps[j].edge)
			}
			slices.Reverse(way)
			return way
		}
		if !seen[target] {
			seen[target] = true
			add(target, i)
		}
	}
	return nil
}

package flow

import agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"

// answered gives typed text to the open question, and reports whether there is one.
//
// A question is never older than the current menu, save for a menu that was sent again, so it has the first word: what it accepts is an
// answer, even if it is a label too. Only what it refuses can be a pick from the menu, and then only by label or "opção N": a bare number
// is far more likely a bad answer, unless question and menu come from the same node.
func (r *run) answered() bool {
	open := r.ask
	n := r.nodes[open.GetNode()]
	if open == nil || n == nil || n.ask == nil {
		r.ask = nil
		return false
	}
	if value, ok := n.ask.kind.Normalise(r.turn.Text, r.now); ok {
		r.ask = nil
		r.keep(n.ask.save, value)
		// A node without a way out waits for the person, and so does one whose branches all fail.
		r.resume(n)
		return true
	}
	if menu, picked := r.byText(); picked != nil && (menu.GetNode() == n.name || !isNumber(r.turn.Text)) {
		r.pick(menu, picked)
		return true
	}
	r.refuse(n, open.GetTries()+1)
	return true
}

// refuse asks again after a bad answer, the tries-th, or gives up.
func (r *run) refuse(n *node, tries int32) {
	r.result.Node = n.name
	if tries >= n.ask.tries {
		r.ask = nil
		if n.ask.giveUp != nil {
			r.enter(n.ask.giveUp)
		} else {
			r.notUnderstood()
		}
		return
	}
	r.ask = &agentv1.OpenAsk{Node: n.name, Tries: tries}
	again := &n.ask.prompt
	if count := len(n.ask.retry); count > 0 {
		again = &n.ask.retry[min(int(tries), count)-1]
	}
	r.sendWords(again)
}

package flow

import (
	"github.com/prosa-chat/prosa/services/agent/internal/expr"
	"github.com/prosa-chat/prosa/services/agent/internal/match"

	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

// understood takes free text for an intent or for a question that has a curated answer, in this order, and reports whether it is one. An
// intent leads elsewhere, so it gives up an open question; an answer does not.
func (r *run) understood() bool {
	if r.knows.index == nil {
		return false
	}
	if found, err := r.knows.index.Intent(r.ctx, r.turn.Text); r.sure(found, err) {
		r.ask = nil
		wanted := &r.knows.intents[found.Target]
		r.result.Intent = wanted.name
		r.scope.SetIntent(expr.Intent{Name: wanted.name, Confidence: found.Confidence})
		r.enter(wanted.target)
		return true
	}
	if found, err := r.knows.index.Answer(r.ctx, r.turn.Text); r.sure(found, err) {
		r.sendWords(&r.knows.answers[found.Target])
		return true
	}
	return false
}

// informed takes free text for a question that a passage answers, and reports whether one does. The answer names its source.
func (r *run) informed() bool {
	if r.knows.index == nil {
		return false
	}
	found, passage, err := r.knows.index.Passage(r.ctx, r.turn.Text)
	if !r.sure(found, err) {
		return false
	}
	text := passage + "\n\nFonte: " + r.knows.titles[found.Target]
	r.output += len(text)
	r.send(&messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}}})
	return true
}

// sure reports whether something was found and is likely enough to be meant, and keeps how likely.
func (r *run) sure(found match.Match, err error) bool {
	if err != nil {
		r.failure = err
		return false
	}
	if found.Target < 0 || found.Confidence < r.knows.threshold {
		return false
	}
	r.result.Confidence = found.Confidence
	return true
}

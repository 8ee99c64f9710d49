package flow

import (
	"fmt"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/match"
)

// knowledge is what free text can mean to a program.
type knowledge struct {
	index     *match.Index // nil: nothing
	threshold float64
	intents   []intent
	answers   []say
	titles    []string // of the passages
}

// intent is something that people want, and where that leads.
type intent struct {
	name   string
	target *node
}

func (c *compiler) knowledge(def *agentv1.AgentDefinition) (knowledge, error) {
	k := knowledge{threshold: defaultThreshold}
	if def.Threshold != nil {
		k.threshold = def.GetThreshold()
	}
	var corpus match.Corpus
	for _, one := range def.GetIntents() {
		target, err := c.target(one.GetGoto())
		if err != nil {
			return knowledge{}, fmt.Errorf("compile intent %s: %w", one.GetName(), err)
		}
		if target == nil {
			return knowledge{}, fmt.Errorf("compile intent %s: no goto", one.GetName())
		}
		k.intents = append(k.intents, intent{one.GetName(), target})
		corpus.Intents = append(corpus.Intents, one.GetExamples())
	}
	for i, one := range def.GetAnswers() {
		words, err := c.words(contentText, one.GetText())
		if err != nil {
			return knowledge{}, fmt.Errorf("compile answer %d: %w", i, err)
		}
		k.answers = append(k.answers, words)
		corpus.Answers = append(corpus.Answers, one.GetQuestions())
	}
	for _, one := range def.GetKnowledge() {
		k.titles = append(k.titles, one.GetTitle())
		corpus.Passages = append(corpus.Passages, match.Passage{Title: one.GetTitle(), Text: one.GetText()})
	}
	var err error
	if k.index, err = match.Build(corpus); err != nil {
		return knowledge{}, fmt.Errorf("compile definition: %w", err)
	}
	return k, nil
}

// handoff is the handoff of a node, nil if it has none.
func handoff(node string, def *agentv1.Handoff) *agentv1.OpenHandoff {
	if def == nil {
		return nil
	}
	open := &agentv1.OpenHandoff{Node: node, Squad: def.GetSquad(), Skill: def.GetSkill()}
	if open.GetSquad() == "" {
		open.Squad = defaultSquad
	}
	return open
}

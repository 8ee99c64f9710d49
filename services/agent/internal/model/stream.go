package model

import (
	"errors"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/ssestream"

	"github.com/prosa-chat/prosa/services/agent/internal/flow"
)

const (
	// maxText is how many bytes of text a model may give at once.
	maxText = 512 << 10
	// maxUses is how many tools it may use at once, maxName and maxArguments how many bytes their names and arguments have.
	maxUses      = 8
	maxName      = 128
	maxArguments = 32 << 10
)

// reading is what was read of a stream.
type reading struct {
	a      *attempt
	joined joiner
	reply  flow.Reply
	text   []byte
	uses   []use
}

// use is a use of a tool, so far.
type use struct {
	index           int64
	id              string
	name, arguments []byte
}

// read reads a stream until the model ends.
func (a *attempt) read(stream *ssestream.Stream[openai.ChatCompletionChunk]) (*flow.Reply, error) {
	r := &reading{a: a}
	for stream.Next() {
		chunk := stream.Current()
		for i := range chunk.Choices {
			choice := &chunk.Choices[i]
			if choice.Index != 0 {
				continue // only one was asked for
			}
			if err := r.take(&choice.Delta); err != nil {
				return nil, err
			}
			if choice.FinishReason != "" {
				return r.end(choice.FinishReason)
			}
		}
	}
	return nil, r.broken(stream.Err())
}

// broken is what it means that a stream ended before the model did.
func (r *reading) broken(err error) error {
	var reported *ssestream.StreamError
	switch {
	case err == nil:
		return fault(reasonCut)
	case errors.Is(err, errTooLarge):
		return r.refuse(reasonTooLarge)
	case errors.As(err, &reported):
		return fault(reasonReported)
	case r.a.body == nil:
		return fault(reasonUnreachable) // the exchange says more
	case r.a.body.broke:
		return fault(reasonCut)
	default:
		return r.refuse(reasonMalformed)
	}
}

// take takes what a model gave.
func (r *reading) take(delta *openai.ChatCompletionChunkChoiceDelta) error {
	gave := false
	for _, piece := range []string{unquoted(delta.Content, delta.JSON.Content.Raw()), unquoted(delta.Refusal, delta.JSON.Refusal.Raw())} {
		if piece == "" {
			continue
		}
		gave = true
		if err := r.say(piece); err != nil {
			return err
		}
	}
	for i := range delta.ToolCalls {
		gave = true
		if err := r.use(&delta.ToolCalls[i]); err != nil {
			return err
		}
	}
	switch {
	case gave:
		r.a.watch.progress()
		r.reply.Tokens++
	case thinks(delta):
		// A model that thinks aloud: nobody is told, but it is at work.
		r.a.watch.progress()
		r.reply.Tokens++
	}
	if r.reply.Tokens > r.a.prompt.MaxTokens {
		return r.refuse(reasonTokens)
	}
	return nil
}

// thinks reports whether a model gave text that is no part of its answer, under whatever name.
func thinks(delta *openai.ChatCompletionChunkChoiceDelta) bool {
	for _, field := range delta.JSON.ExtraFields {
		if raw := field.Raw(); len(raw) > len(`""`) && raw[0] == '"' {
			return true
		}
	}
	return false
}

// refuse gives up a model that keeps no rule, which it would not keep the next time either.
func (r *reading) refuse(reason string) error {
	r.a.mayRetry = false
	return fault(reason)
}

func (r *reading) say(piece string) error {
	whole, ok := r.joined.join(piece)
	if !ok {
		return r.refuse(reasonUTF8)
	}
	if len(r.text)+len(whole) > maxText {
		return r.refuse(reasonTooLarge)
	}
	if whole != "" {
		r.text = append(r.text, whole...)
		r.a.text(whole)
	}
	return nil
}

func (r *reading) use(delta *openai.ChatCompletionChunkChoiceDeltaToolCall) error {
	at := -1
	for i := range r.uses {
		// Some endpoints number all uses alike, and tell them apart by their identifiers only.
		if r.uses[i].index == delta.Index && (delta.ID == "" || delta.ID == r.uses[i].id) {
			at = i
		}
	}
	if at < 0 {
		if len(r.uses) == maxUses {
			return r.refuse(reasonUses)
		}
		at = len(r.uses)
		r.uses = append(r.uses, use{index: delta.Index, id: delta.ID})
	}
	u := &r.uses[at]
	u.name = append(u.name, delta.Function.Name...)
	u.arguments = append(u.arguments, delta.Function.Arguments...)
	if len(u.name) > maxName || len(u.arguments) > maxArguments || len(u.id) > maxName {
		return r.refuse(reasonTooLarge)
	}
	return nil
}

// end is the reply of a model that ended.
func (r *reading) end(reason string) (*flow.Reply, error) {
	if reason == "content_filter" {
		return nil, r.refuse(reasonFiltered)
	}
	if !r.joined.whole() {
		return nil, r.refuse(reasonUTF8)
	}
	r.reply.Text = string(r.text)
	for i := range r.uses {
		r.reply.Uses = append(r.reply.Uses, flow.Use{Tool: string(r.uses[i].name), Arguments: string(r.uses[i].arguments)})
	}
	return &r.reply, nil
}

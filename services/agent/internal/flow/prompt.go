package flow

import (
	"context"
	"time"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// Model asks language models for one turn. It is used by one goroutine at a time.
type Model interface {
	// Past is what was said in the turns before this one: the last ones, at most as many as asked for, oldest first. Errors: the store's.
	Past(ctx context.Context, turns int) ([]Exchange, error)
	// Ask asks a model once. The pieces of the text that it gives go to text as they come: whole characters, never empty. Errors: a Fault, and
	// the end of ctx.
	Ask(ctx context.Context, p *Prompt, text func(piece string)) (*Reply, error)
}

// Exchange is what was said in a turn; each side can be empty.
type Exchange struct{ Person, Agent string }

// Prompt is what a model is asked.
type Prompt struct {
	// Settings say which model, and how to reach it. They are not changed.
	Settings *agentv1.Model
	// Messages are the conversation, oldest first.
	Messages []Utterance
	// Tools are what the model may use.
	Tools []Tool
	// MaxTokens is how many tokens it may give now, more than 0.
	MaxTokens int
	// Deadline is when it must be done.
	Deadline time.Time
}

// Role says who speaks to a model.
type Role int

// The roles.
const (
	RoleSystem Role = iota // who made the agent
	RolePerson
	RoleAgent // the model itself
	RoleTool  // what came of the use of a tool
)

// Utterance is a message to a model, or its own.
type Utterance struct {
	Role Role
	Text string
	// Uses are the tools that the model used with it, for RoleAgent.
	Uses []Use
	// UseID is the use that it tells of, for RoleTool.
	UseID string
}

// Tool is something that a model may use.
type Tool struct {
	Name, Description string
	// Parameters is the JSON schema of its arguments. It is not changed.
	Parameters map[string]any
}

// Use is the use of a tool.
type Use struct {
	// ID tells uses apart. It is not of the model, and is unique in a turn.
	ID string
	// Tool and Arguments are as the model wrote them: there need be no such tool, and the arguments need not be JSON.
	Tool, Arguments string
}

// Reply is what a model said.
type Reply struct {
	// Text is all its text.
	Text string
	// Uses are the tools that it wants to use, in order.
	Uses []Use
	// Tokens is about how many tokens it gave.
	Tokens int
}

package flow

import messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"

// Sink gets an answer while it is made. It is called by one goroutine at a time and must not block for long: who makes the answer waits.
type Sink interface {
	// Text is a piece of the text message that is being made, as soon as there is one: whole characters, never empty. The pieces and the
	// finished message agree byte for byte.
	Text(piece string)
	// Message is a finished message of the answer; for one whose pieces went through Text it closes it. It is not changed any more.
	Message(m *messagev1.Message)
	// Restart says that the answer begins anew, and that what came before it is no part of it: the turn was overtaken and is computed again.
	Restart()
}

// Discard is a sink for callers that want the result only. Nobody sees an answer before it is whole then, so one that breaks off in the
// middle is not given up: see ErrInterrupted.
var Discard Sink = discard{}

type discard struct{}

func (discard) Text(string)                {}
func (discard) Message(*messagev1.Message) {}
func (discard) Restart()                   {}

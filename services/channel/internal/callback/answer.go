// Package callback makes of a turn what an integration of the Bot API gets for
// it: one answer with everything that the agent said.
package callback

import (
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// Answer is what the integration gets for a turn of a person.
func Answer(b *store.BotAPI, identifier string, turn *agentv1.RunTurnResponse) *channelv1.BotAnswer {
	answer := &channelv1.BotAnswer{Identifier: identifier, Output: make([]*channelv1.BotOutput, len(turn.GetMessages()))}
	for i, message := range turn.GetMessages() {
		answer.Output[i] = messagejson.BotOutput(message)
	}
	if b.IncludeContext {
		answer.Context = turn.GetContext()
	}
	return answer
}

// Due reports whether the answer to a turn is sent to the callback: the
// integration has one, the caller does not wait for the answer itself, and there
// is one. An agent that said nothing, as while people answer in its place, calls
// nobody.
func Due(b *store.BotAPI, turn *agentv1.RunTurnResponse) bool {
	return b.Version == store.BotV2 && Reaches(b) && len(turn.GetMessages()) > 0
}

// Reaches reports whether the integration has a callback. What people say in the
// agent's place goes there whatever the version, for no caller waits for it.
func Reaches(b *store.BotAPI) bool { return b.CallbackURL != "" && b.CallbackToken != nil }

// Body is what the callback gets, byte for byte.
func Body(b *store.BotAPI, identifier string, turn *agentv1.RunTurnResponse) []byte {
	return messagejson.AppendBotAnswer(make([]byte, 0, 512), Answer(b, identifier, turn))
}

package turns

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/callback"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// Where messages come from, as attendances show it.
const (
	sourceChannel = "api_channel"
	sourceBotAPI  = "api"
)

// Request is what the agent is asked for a message. The same message is the same
// turn: asked again, the agent gives its stored answer.
func Request(endpoint *directory.Endpoint, m *store.Message) (*agentv1.RunTurnRequest, error) {
	request := &agentv1.RunTurnRequest{
		Instance:   m.Instance,
		AgentId:    endpoint.AgentID,
		MessageId:  m.ID,
		Source:     sourceChannel,
		EndpointId: m.ChannelID,
		Identifier: m.ClientIdentifier,
		Text:       m.Text,
		Postback:   m.Postback,
		AcceptTime: timestamppb.New(m.CreateTime),
	}
	if endpoint.BotAPI == nil {
		return request, nil
	}
	request.Source, request.NoInput, request.ReturnContext = sourceBotAPI, m.Text == "", endpoint.BotAPI.IncludeContext
	if m.Context != nil {
		request.Context = &structpb.Struct{}
		if err := proto.Unmarshal(m.Context, request.Context); err != nil {
			return nil, fmt.Errorf("read context of message: %w", err)
		}
	}
	return request, nil
}

// outgoing is what is delivered of an answer: to a channel's webhook each
// message alone, to an integration's callback the whole.
func (w *Worker) outgoing(endpoint *directory.Endpoint, m *store.Message, answer *agentv1.RunTurnResponse) []store.Outgoing {
	if b := endpoint.BotAPI; b != nil {
		if m.ReplyTo == "" && !callback.Due(b, answer) || m.ReplyTo != "" && !callback.Reaches(b) {
			return nil
		}
		return []store.Outgoing{{ID: w.IDs.NewOrdered(), Body: callback.Body(b, m.ClientIdentifier, answer)}}
	}
	var trace *agentv1.TurnDebug
	if endpoint.Channel.Test {
		if trace = answer.GetDebug(); trace == nil {
			trace = &agentv1.TurnDebug{}
		}
	}
	messages := make([]store.Outgoing, len(answer.GetMessages()))
	for i, message := range answer.GetMessages() {
		messages[i] = store.Outgoing{ID: w.IDs.NewOrdered(), Body: appendBody(make([]byte, 0, 512), answer, message, trace)}
	}
	return messages
}

package gateway

import (
	"context"
	"fmt"
	"net/http"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/gateway/internal/jsonout"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// headerMessageID carries the id of an accepted message.
const headerMessageID = "Prosa-Message-Id"

// management writes the answers of /v1. What is only in the answer to create, or never, is absent elsewhere, not empty.
var management = jsonout.Writer{OmitEmpty: map[protoreflect.FullName]bool{
	"prosa.accounts.v1.ApiKey.key":            true,
	"prosa.channel.v1.BotApi.callback_token":  true,
	"prosa.channel.v1.BotApi.signing_secret":  true,
	"prosa.channel.v1.BotApi.token":           true,
	"prosa.channel.v1.Channel.inbound_token":  true,
	"prosa.channel.v1.Channel.signing_secret": true,
}}

func marshalManagement(v any) ([]byte, error) {
	message, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("write answer: %T is no message", v)
	}
	return management.Append(nil, message.ProtoReflect())
}

// forwardResponse sets the header fields and the status of an answer that is no failure.
func forwardResponse(_ context.Context, w http.ResponseWriter, message proto.Message) error {
	switch answer := message.(type) {
	case *channelv1.ReceiveMessageResponse:
		w.Header()[headerMessageID] = []string{answer.GetMessageId()}
	case *channelv1.ReceiveBotMessageResponse:
		w.Header()[headerMessageID] = []string{answer.GetMessageId()}
	case *agentv1.CompleteChatResponse:
		w.Header()[headerMessageID] = []string{answer.GetId()}
	case *contactsv1.QueryContactsResponse:
		if len(answer.GetContacts()) == 0 {
			w.WriteHeader(http.StatusNotFound)
		}
	case *contactsv1.QueryEventsResponse:
		if len(answer.GetEvents()) == 0 {
			w.WriteHeader(http.StatusNotFound)
		}
	}
	return nil
}

// accepted is the documented answer of the API Channel.
var accepted any = written(`{"status":"ok"}`)

// taken is the documented answer of the Bot API.
var taken any = written(`{"code":200,"message":"Message sent."}`)

// botAnswer is taken, with the fields of the agent's answer beside it if there is one.
func botAnswer(response *channelv1.ReceiveBotMessageResponse) any {
	if response.GetAnswer() == nil {
		return taken
	}
	body := messagejson.AppendBotAnswerFields([]byte(`{"code":200,"message":"Message sent.",`), response.GetAnswer())
	return written(append(body, '}'))
}

// rewriteResponse puts the answers of the documented surfaces into their form. All others go on to the marshaler.
func rewriteResponse(ctx context.Context, message proto.Message) (any, error) {
	switch answer := message.(type) {
	case *channelv1.ReceiveMessageResponse:
		return accepted, nil
	case *channelv1.ReceiveBotMessageResponse:
		return botAnswer(answer), nil
	case *agentv1.CompleteChatResponse:
		return written(appendChatAnswer(nil, answer.GetId(), answer.GetMessages(), answer.GetInterrupted())), nil
	case *agentv1.StopChatResponse:
		return written(appendStopped(nil, answer)), nil
	case *agentv1.ListConversationsResponse:
		return written(appendConversations(nil, answer)), nil
	case *agentv1.ListMessagesResponse:
		request, _ := callFrom(ctx).message.(*agentv1.ListMessagesRequest)
		return written(appendConversationMessages(nil, request, answer)), nil
	case interface{ GetConversation() *agentv1.Conversation }: // in the form of its response_body
		return written(appendConversation(nil, answer.GetConversation(), false)), nil
	case *contactsv1.QueryContactsResponse:
		request, _ := callFrom(ctx).message.(*contactsv1.QueryContactsRequest)
		return written(appendContacts(nil, request, answer)), nil
	case *contactsv1.QueryEventsResponse:
		return written(appendEvents(nil, answer)), nil
	}
	return message, nil
}

package turns

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// conversationErased is the agent's answer to what people said in a conversation
// that is there no more. It was there when the words were taken, so that its
// person was erased since.
var conversationErased = rpcerr.New(0, contactsv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_FOUND, "").Reason()

// reply has the agent service store what people said in the agent's place. The
// same message is the same turn here too.
func (w *Worker) reply(ctx context.Context, endpoint *directory.Endpoint, m *store.Message) (*agentv1.RunTurnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, w.config.Timeout)
	defer cancel()
	response, err := w.Replies.RunReply(ctx, &agentv1.RunReplyRequest{
		Instance:      m.Instance,
		InteractionId: m.ReplyTo,
		MessageId:     m.ID,
		Text:          m.Text,
		AcceptTime:    timestamppb.New(m.CreateTime),
		ReturnContext: endpoint.BotAPI != nil && endpoint.BotAPI.IncludeContext,
	})
	if err != nil {
		return nil, err
	}
	return response.GetTurn(), nil
}

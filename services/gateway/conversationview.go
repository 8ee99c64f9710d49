package gateway

import (
	"net/http"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
)

// asConversation makes a refusal one of the conversation API, where a key that may not do something is a wrong key (documented).
func asConversation(r *refusal) *refusal {
	if r.status != http.StatusForbidden {
		return r
	}
	made := *r
	made.status = http.StatusUnauthorized
	return &made
}

// unwrapMetadata reads a body of exactly {"meta":{…}} as the pairs in it.
func unwrapMetadata(request proto.Message) {
	update, ok := request.(*agentv1.UpdateConversationRequest)
	if !ok || len(update.GetMeta().GetFields()) != 1 {
		return
	}
	if pairs, ok := update.GetMeta().GetFields()["meta"].GetKind().(*structpb.Value_StructValue); ok {
		update.Meta = pairs.StructValue
	}
}

// appendConversations writes a page of conversations in the documented form.
func appendConversations(dst []byte, page *agentv1.ListConversationsResponse) []byte {
	dst = strconv.AppendInt(append(dst, `{"total":`...), page.GetTotal(), 10)
	dst = strconv.AppendInt(append(dst, `,"currentPage":`...), int64(page.GetCurrentPage()), 10)
	dst = strconv.AppendInt(append(dst, `,"totalPages":`...), page.GetTotalPages(), 10)
	dst = appendOptional(append(dst, `,"cursor":`...), page.Cursor)
	dst = append(dst, `,"conversations":[`...)
	for i, c := range page.GetConversations() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendConversation(dst, c, true)
	}
	return append(dst, `]}`...)
}

// appendConversation writes a conversation: its metadata as documented, and on a list what is chosen beside them.
func appendConversation(dst []byte, c *agentv1.Conversation, listed bool) []byte {
	dst = messagejson.AppendString(append(dst, `{"id":`...), c.GetId())
	dst = messagejson.AppendString(append(dst, `,"botname":`...), c.GetBotname())
	dst = messagejson.AppendString(append(dst, `,"description":`...), c.GetDescription())
	dst = messagejson.AppendString(append(dst, `,"channel":`...), c.GetChannel())
	dst = strconv.AppendInt(append(dst, `,"survey":`...), int64(c.GetSurvey()), 10)
	dst = messagejson.AppendStruct(append(dst, `,"meta":`...), c.GetMeta())
	if listed {
		dst = appendTime(append(dst, `,"createdAt":`...), c.GetCreatedAt())
		dst = appendTime(append(dst, `,"updatedAt":`...), c.GetUpdatedAt())
		dst = strconv.AppendInt(append(dst, `,"messages":`...), c.GetMessages(), 10)
		dst = messagejson.AppendString(append(dst, `,"identifier":`...), c.GetIdentifier())
	}
	return append(dst, '}')
}

// appendConversationMessages writes what was said. The cursor is there for callers who asked for pages, or get them.
func appendConversationMessages(dst []byte, request *agentv1.ListMessagesRequest, page *agentv1.ListMessagesResponse) []byte {
	dst = append(dst, `{"messages":[`...)
	for i, m := range page.GetMessages() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendConversationMessage(dst, m)
	}
	dst = append(dst, ']')
	if page.Cursor != nil || request.GetCursor() != "" || request != nil && request.Limit != nil {
		dst = appendOptional(append(dst, `,"cursor":`...), page.Cursor)
	}
	return append(dst, '}')
}

func appendConversationMessage(dst []byte, m *agentv1.ConversationMessage) []byte {
	dst = messagejson.AppendString(append(dst, `{"id":`...), m.GetId())
	dst = messagejson.AppendString(append(dst, `,"sender":`...), m.GetSender())
	dst = append(dst, `,"message":[`...)
	for i, message := range m.GetMessage() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = messagejson.AppendContent(dst, message)
	}
	dst = appendTime(append(dst, `],"createdAt":`...), m.GetCreatedAt())
	dst = appendOptional(append(dst, `,"feedback":`...), m.Feedback)
	if m.GetPostback() != "" {
		dst = messagejson.AppendString(append(dst, `,"postback":`...), m.GetPostback())
	}
	if m.GetInterrupted() {
		dst = append(dst, `,"interrupted":true`...)
	}
	return append(dst, '}')
}

func appendTime(dst []byte, t *timestamppb.Timestamp) []byte {
	dst = t.AsTime().AppendFormat(append(dst, '"'), historyTimeLayout)
	return append(dst, '"')
}

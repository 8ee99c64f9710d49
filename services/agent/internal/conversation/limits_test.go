package conversation_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/validate"
)

// Each limit of the contract, at it and one past it. Characters are counted, not bytes.
func TestLimitsOfTheContract(t *testing.T) {
	text := func(n int) string { return strings.Repeat("é", n) }
	list := func(change func(r *agentv1.ListConversationsRequest)) proto.Message {
		r := &agentv1.ListConversationsRequest{}
		change(r)
		return r
	}
	for field, test := range map[string]struct{ good, bad []proto.Message }{
		"limit": {
			good: []proto.Message{
				list(func(r *agentv1.ListConversationsRequest) { r.Limit = proto.Int32(1) }),
				list(func(r *agentv1.ListConversationsRequest) { r.Limit = proto.Int32(100) }),
				&agentv1.ListMessagesRequest{IdConversation: "c", Limit: proto.Int32(1)},
				&agentv1.ListMessagesRequest{IdConversation: "c", Limit: proto.Int32(10_000)},
			},
			bad: []proto.Message{
				list(func(r *agentv1.ListConversationsRequest) { r.Limit = proto.Int32(0) }),
				list(func(r *agentv1.ListConversationsRequest) { r.Limit = proto.Int32(101) }),
				&agentv1.ListMessagesRequest{IdConversation: "c", Limit: proto.Int32(0)},
				&agentv1.ListMessagesRequest{IdConversation: "c", Limit: proto.Int32(10_001)},
			},
		},
		"currentPage": {
			good: []proto.Message{list(func(r *agentv1.ListConversationsRequest) { r.CurrentPage = 0 })},
			bad:  []proto.Message{list(func(r *agentv1.ListConversationsRequest) { r.CurrentPage = -1 })},
		},
		"search": {
			good: []proto.Message{list(func(r *agentv1.ListConversationsRequest) { r.Search = text(256) })},
			bad:  []proto.Message{list(func(r *agentv1.ListConversationsRequest) { r.Search = text(257) })},
		},
		"meta": {
			good: []proto.Message{list(func(r *agentv1.ListConversationsRequest) { r.Meta = text(256) })},
			bad:  []proto.Message{list(func(r *agentv1.ListConversationsRequest) { r.Meta = text(257) })},
		},
		"cursor": {
			good: []proto.Message{list(func(r *agentv1.ListConversationsRequest) { r.Cursor = text(2048) })},
			bad: []proto.Message{
				list(func(r *agentv1.ListConversationsRequest) { r.Cursor = text(2049) }),
				&agentv1.ListMessagesRequest{IdConversation: "c", Cursor: text(2049)},
			},
		},
		"dateInit": {
			good: []proto.Message{list(func(r *agentv1.ListConversationsRequest) { r.DateInit = "2026-01-31" })},
			bad: []proto.Message{
				list(func(r *agentv1.ListConversationsRequest) { r.DateInit = "2026-1-31" }),
				list(func(r *agentv1.ListConversationsRequest) { r.DateInit = "2026-01-31T00:00:00Z" }),
				list(func(r *agentv1.ListConversationsRequest) { r.DateInit = "31/01/2026" }),
			},
		},
		"identifier": {
			good: []proto.Message{&agentv1.CreateConversationRequest{BotId: "a", Identifier: text(256)}},
			bad:  []proto.Message{&agentv1.CreateConversationRequest{BotId: "a", Identifier: text(257)}},
		},
		"idConversation": {
			good: []proto.Message{&agentv1.GetConversationRequest{IdConversation: text(64)}},
			bad:  []proto.Message{&agentv1.GetConversationRequest{IdConversation: text(65)}, &agentv1.ListMessagesRequest{}},
		},
		"feedback": {
			good: []proto.Message{&agentv1.RateMessageRequest{Idmessage: "m", Feedback: "like"}, &agentv1.RateMessageRequest{Idmessage: "m", Feedback: "dislike"}},
			bad:  []proto.Message{&agentv1.RateMessageRequest{Idmessage: "m", Feedback: "Like"}, &agentv1.RateMessageRequest{Idmessage: "m"}},
		},
		"survey": {
			good: []proto.Message{&agentv1.RateConversationRequest{Idconv: "c", Survey: 1}, &agentv1.RateConversationRequest{Idconv: "c", Survey: 5}},
			bad:  []proto.Message{&agentv1.RateConversationRequest{Idconv: "c"}, &agentv1.RateConversationRequest{Idconv: "c", Survey: 6}},
		},
	} {
		for _, request := range test.good {
			require.NoError(t, validate.Request(request), "%s: %v", field, request)
		}
		for _, request := range test.bad {
			err := validate.Request(request)
			require.Error(t, err, "%s: %v", field, request)
			violations := rpcerr.Violations(status.Convert(err))
			require.Len(t, violations, 1)
			require.Equal(t, field, violations[0].Field)
		}
	}
}

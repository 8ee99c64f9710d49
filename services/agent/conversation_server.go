package agent

import (
	"context"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/conversation"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// What is answered where there is nothing else to say. The first is documented.
const (
	sayUpdated  = "Conversa atualizada com sucesso."
	sayFeedback = "Feedback registrado com sucesso."
	saySurvey   = "Avaliação registrada com sucesso."
)

// conversationServer is ConversationService. The key of a call decides its instance.
type conversationServer struct {
	agentv1.UnimplementedConversationServiceServer
	conversations *conversation.Conversations
}

// CheckRequest makes it a grpcserver.Checker: dates that the calendar does not have, and cursors, are named with all else.
func (s *conversationServer) CheckRequest(ctx context.Context, request any) []rpcerr.Violation {
	if r, ok := request.(*agentv1.ListConversationsRequest); ok {
		return s.conversations.CheckList(instanceOf(ctx), r)
	}
	return nil
}

func instanceOf(ctx context.Context) string { return auth.FromContext(ctx).Instance }

// ListConversations gives a page of conversations.
func (s *conversationServer) ListConversations(
	ctx context.Context, r *agentv1.ListConversationsRequest,
) (*agentv1.ListConversationsResponse, error) {
	return s.conversations.List(ctx, instanceOf(ctx), r)
}

// GetConversation gives one conversation.
func (s *conversationServer) GetConversation(ctx context.Context, r *agentv1.GetConversationRequest) (*agentv1.GetConversationResponse, error) {
	found, err := s.conversations.Get(ctx, instanceOf(ctx), r.GetIdConversation())
	if err != nil {
		return nil, err
	}
	return &agentv1.GetConversationResponse{Conversation: found}, nil
}

// ListMessages gives a page of messages.
func (s *conversationServer) ListMessages(ctx context.Context, r *agentv1.ListMessagesRequest) (*agentv1.ListMessagesResponse, error) {
	return s.conversations.Messages(ctx, instanceOf(ctx), r)
}

// CreateConversation makes a conversation.
func (s *conversationServer) CreateConversation(
	ctx context.Context, r *agentv1.CreateConversationRequest,
) (*agentv1.CreateConversationResponse, error) {
	instance := instanceOf(ctx)
	key, err := idempotency.OfRequest(ctx, instance, agentv1.ConversationService_CreateConversation_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	id, err := s.conversations.Create(ctx, instance, r, key)
	if err != nil {
		return nil, err
	}
	return &agentv1.CreateConversationResponse{Id: id}, nil
}

// UpdateConversation adds to the metadata.
func (s *conversationServer) UpdateConversation(
	ctx context.Context, r *agentv1.UpdateConversationRequest,
) (*agentv1.UpdateConversationResponse, error) {
	if err := s.conversations.Update(ctx, instanceOf(ctx), r.GetConvId(), r.GetMeta()); err != nil {
		return nil, err
	}
	return &agentv1.UpdateConversationResponse{Message: sayUpdated}, nil
}

// RateMessage keeps feedback.
func (s *conversationServer) RateMessage(ctx context.Context, r *agentv1.RateMessageRequest) (*agentv1.RateMessageResponse, error) {
	if err := s.conversations.RateMessage(ctx, instanceOf(ctx), r.GetIdmessage(), r.GetFeedback()); err != nil {
		return nil, err
	}
	return &agentv1.RateMessageResponse{Message: sayFeedback}, nil
}

// RateConversation keeps a survey.
func (s *conversationServer) RateConversation(
	ctx context.Context, r *agentv1.RateConversationRequest,
) (*agentv1.RateConversationResponse, error) {
	if err := s.conversations.RateConversation(ctx, instanceOf(ctx), r.GetIdconv(), r.GetSurvey()); err != nil {
		return nil, err
	}
	return &agentv1.RateConversationResponse{Message: saySurvey}, nil
}

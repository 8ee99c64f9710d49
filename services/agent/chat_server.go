package agent

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/replica"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// chatServer is ChatService.
type chatServer struct {
	agentv1.UnimplementedChatServiceServer
	chats *chat.Service
	// within is how long CompleteChat waits for an answer.
	within time.Duration
	// secret keys the fingerprints of messages, of which nobody is to learn anything from a hash.
	secret []byte
}

// newChats makes what takes chat messages.
func newChats(cfg Config, deps Deps, db *store.Store, runner *turn.Runner, fellows *replica.Replica) (*chat.Service, error) {
	metrics, err := chat.NewMetrics(deps.Metrics)
	if err != nil {
		return nil, err
	}
	return chat.New(chat.Deps{
		Store: db, Runner: runner, Instances: deps.Instances, Clock: deps.Clock, IDs: deps.IDs, Logger: deps.Logger, Metrics: metrics,
		Holder: fellows.Holder(), Tell: fellows.Tell, Shared: deps.DB.Dialect() != sqldb.SQLite, Grace: cfg.StopGrace,
	}), nil
}

func newChatServer(cfg Config, deps Deps, chats *chat.Service) *chatServer {
	return &chatServer{chats: chats, within: cfg.ChatTimeout, secret: deps.Box.Derive("agent/chat/fingerprint")}
}

// CompleteChat gives the whole answer to a message.
func (s *chatServer) CompleteChat(ctx context.Context, r *agentv1.CompleteChatRequest) (*agentv1.CompleteChatResponse, error) {
	within, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	interaction, err := s.accept(within, r.GetIdConversation(), r.GetText())
	if err != nil {
		return nil, err
	}
	place := chat.Beginning()
	for {
		events, err := interaction.Next(within, place)
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		last := &events[len(events)-1]
		if done := last.Done(); done != nil {
			return &agentv1.CompleteChatResponse{Id: done.GetId(), Messages: done.GetMessages(), Interrupted: done.GetInterrupted()}, nil
		}
		place = last.At()
	}
}

// StreamChat gives the answer to a message while it is made.
func (s *chatServer) StreamChat(r *agentv1.StreamChatRequest, stream grpc.ServerStreamingServer[agentv1.StreamChatResponse]) error {
	interaction, err := s.accept(stream.Context(), r.GetIdConversation(), r.GetText())
	if err != nil {
		return err
	}
	return follow(stream.Context(), interaction, chat.Beginning(), func(e *agentv1.ChatEvent) error {
		return stream.Send(&agentv1.StreamChatResponse{Event: e})
	})
}

// ResumeChat gives what follows an event of a stream.
func (s *chatServer) ResumeChat(r *agentv1.ResumeChatRequest, stream grpc.ServerStreamingServer[agentv1.ResumeChatResponse]) error {
	ctx := stream.Context()
	from, ok := chat.ParsePlace(r.GetLastEvent())
	if !ok {
		return rpcerr.Invalid(rpcerr.Violation{Field: "Last-Event-ID", Reason: "is not the id of an event"})
	}
	interaction, err := s.chats.Find(ctx, auth.FromContext(ctx).Instance, r.GetIdConversation(), r.GetIdmessage())
	if err != nil {
		return rpcerr.FromStore(err)
	}
	if err := interaction.Check(ctx, from); err != nil {
		return err
	}
	return follow(ctx, interaction, from, func(e *agentv1.ChatEvent) error {
		return stream.Send(&agentv1.ResumeChatResponse{Event: e})
	})
}

// StopChat stops the running turn of a conversation.
func (s *chatServer) StopChat(ctx context.Context, r *agentv1.StopChatRequest) (*agentv1.StopChatResponse, error) {
	stopped, err := s.chats.Stop(ctx, auth.FromContext(ctx).Instance, r.GetIdConversation())
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &agentv1.StopChatResponse{Id: stopped}, nil
}

// accept takes a message.
func (s *chatServer) accept(ctx context.Context, conversationID, text string) (*chat.Interaction, error) {
	m := chat.Message{Instance: auth.FromContext(ctx).Instance, ConversationID: conversationID, Text: text}
	key, ok, err := idempotency.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	if ok {
		// Of the service, not the method: the same message is the same interaction, whole or streamed.
		m.Key = &idempotency.Key{
			Instance: m.Instance, Scope: agentv1.ChatService_ServiceDesc.ServiceName, Key: key,
			Fingerprint: idempotency.Fingerprint(s.secret, conversationID, text),
		}
	}
	interaction, err := s.chats.Accept(ctx, m)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return interaction, nil
}

// follow sends the events behind a place, until there are no more.
func follow(ctx context.Context, interaction *chat.Interaction, place chat.Place, send func(*agentv1.ChatEvent) error) error {
	begun := &agentv1.ChatEvent{Id: place.String(), Event: &agentv1.ChatEvent_Begun{Begun: &agentv1.ChatBegun{Id: interaction.ID}}}
	if err := send(begun); err != nil {
		return err
	}
	for {
		events, err := interaction.Next(ctx, place)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return rpcerr.FromStore(err)
		}
		for i := range events {
			if err := send(events[i].Proto()); err != nil {
				return err
			}
		}
		place = events[len(events)-1].At()
	}
}

// Package conversation is the conversation API without chat: listing and searching, messages, metadata, feedback and survey.
package conversation

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// Store is the part of the store that conversations need.
type Store interface {
	Write(ctx context.Context, fn func(ctx context.Context, tx sqldb.Tx) error) error
	CreateChat(ctx context.Context, tx sqldb.Tx, c store.NewChat) error
	ListedConversation(ctx context.Context, instance, id string) (store.ListedConversation, error)
	FirstConversations(ctx context.Context, f *store.ConversationFilter, limit int) (page []store.ListedConversation, total int64, err error)
	ListConversations(ctx context.Context, f *store.ConversationFilter, after pagetoken.Place, limit int) ([]store.ListedConversation, error)
	FreshConversations(ctx context.Context, instance string) ([]string, error)
	Unindexed(ctx context.Context, instance string) ([]store.Unindexed, error)
	AgentNames(ctx context.Context, instance string) ([]store.Agent, error)
	ChangeMetadata(
		ctx context.Context, instance, id string, now time.Time, change func(old []byte) (metadata []byte, words string, err error),
	) error
	SetSurvey(ctx context.Context, instance, id string, survey int32, now time.Time) error
	SetFeedback(ctx context.Context, instance, conversationID, turnID, feedback string, now time.Time) error
	LastLink(ctx context.Context, instance, conversationID string) (store.Link, error)
	Chain(ctx context.Context, instance, conversationID string, from int64, upTo string) ([]store.Link, error)
	Said(ctx context.Context, instance string, turnIDs []string) (map[string]store.Said, error)
	SaidIn(ctx context.Context, instance, turnID string) (conversationID string, said store.Said, err error)
	Feedback(ctx context.Context, instance, conversationID string, turnIDs []string) (map[string]string, error)
}

// Instances looks instances up.
type Instances interface {
	Get(ctx context.Context, slug string) (*accountsv1.Instance, error)
}

// IDs makes identifiers.
type IDs interface{ New() string }

// Deps are what Conversations work with. All are required.
type Deps struct {
	Store     Store
	Instances Instances
	Clock     clock.Clock
	IDs       IDs
	Tokens    *pagetoken.Codec
}

// Conversations answers what callers ask about conversations. It is safe for concurrent use. Its errors may be sent as they are. Every
// call names the instance, which is that of the caller's key.
type Conversations struct{ Deps }

// New returns conversations.
func New(deps Deps) *Conversations { return &Conversations{deps} }

// Get gives one conversation. Errors: CONVERSATION_NOT_FOUND.
func (c *Conversations) Get(ctx context.Context, instance, id string) (*agentv1.Conversation, error) {
	if !plausible(id) {
		return nil, notFound(id)
	}
	found, err := c.Store.ListedConversation(ctx, instance, id)
	if err != nil {
		return nil, fail(err, id)
	}
	return toProto(&found)
}

// RateConversation keeps a survey. Errors: CONVERSATION_NOT_FOUND.
func (c *Conversations) RateConversation(ctx context.Context, instance, id string, survey int32) error {
	if !plausible(id) {
		return notFound(id)
	}
	return fail(c.Store.SetSurvey(ctx, instance, id, survey, c.Clock.Now()), id)
}

func toProto(c *store.ListedConversation) (*agentv1.Conversation, error) {
	metadata, err := decodeMetadata(c.Metadata)
	if err != nil {
		return nil, err
	}
	return &agentv1.Conversation{
		Id: c.ID, Botname: c.AgentName, Description: c.AgentAbout, Channel: c.Source, Survey: c.Survey, Meta: metadata,
		CreatedAt: timestamppb.New(c.CreateTime), UpdatedAt: timestamppb.New(c.UpdateTime), Messages: c.Messages, Identifier: c.Identifier,
	}, nil
}

// plausible reports whether a text may be the identifier of something stored. What the stores cannot keep is nothing's.
func plausible(id string) bool {
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return false
		}
	}
	return id != ""
}

func notFound(id string) *rpcerr.Error {
	return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_CONVERSATION_NOT_FOUND, "no such conversation", "id", id)
}

func messageNotFound(id string) *rpcerr.Error {
	return rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_MESSAGE_NOT_FOUND, "no such message", "id", id)
}

// fail makes of what the store says of a conversation what the caller may know.
func fail(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return notFound(id)
	}
	return rpcerr.FromStore(err)
}

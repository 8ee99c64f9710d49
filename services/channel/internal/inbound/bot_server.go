package inbound

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/gate"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/messagejson"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// maxContext is the largest context that is taken, in bytes of JSON.
	maxContext = 64 << 10
	// maxContextDepth is how deep it may be nested: with the body around it that
	// is what bodies may be.
	maxContextDepth = 31
	// messageSent is the documented answer.
	messageSent = "Message sent."
)

// BotStore is the part of the store that the Bot API needs beside its inbox.
type BotStore interface {
	Outcome(ctx context.Context, key store.ThreadKey, messageID string) (store.Outcome, error)
	BotAPIByID(ctx context.Context, id string) (*store.BotAPI, error)
}

// BotDeps are what the server works with.
type BotDeps struct {
	Inbox     *Inbox
	Directory *directory.Directory
	Tokens    Tokens
	Gate      *gate.Gate
	Store     BotStore
	// Agent gives stored answers again.
	Agent   agentv1.TurnServiceClient
	Waiters *Waiters
	Clock   clock.Clock
	IDs     *id.Source
	// Secret keys the fingerprints of requests.
	Secret []byte
	// AnswerTimeout is how long a caller of version V1 waits for the agent, and
	// Poll how often the store is asked, for a turn that another process runs.
	AnswerTimeout, Poll time.Duration
}

// BotServer implements the BotApiInboundService.
type BotServer struct {
	channelv1.UnimplementedBotApiInboundServiceServer
	BotDeps
}

// NewBotServer returns a server.
func NewBotServer(deps BotDeps) *BotServer { return &BotServer{BotDeps: deps} }

var errBotToken = rpcerr.New(codes.Unauthenticated, channelv1.ErrorReason_ERROR_REASON_BOT_API_TOKEN_INVALID,
	"the integration wants its token: authorization: <token>")

// BotAPINotFound is the error for an integration that is not there, or not the caller's.
func BotAPINotFound(id string) error {
	return rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_BOT_API_NOT_FOUND, "no such integration", "id", id)
}

// ReceiveBotMessage implements the BotApiInboundService.
func (s *BotServer) ReceiveBotMessage(ctx context.Context, r *channelv1.ReceiveBotMessageRequest) (*channelv1.ReceiveBotMessageResponse, error) {
	key, keyed, err := idempotency.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	endpoint, err := s.enter(ctx, r)
	if err != nil {
		return nil, err
	}
	message, err := s.message(r, endpoint)
	if err != nil {
		return nil, err
	}
	var record *store.Key
	if keyed {
		leave, err := s.Inbox.enter(endpoint.ID, key)
		if err != nil {
			return nil, err
		}
		defer leave()
		record = &store.Key{
			Scope:       "ReceiveBotMessage/" + endpoint.ID,
			Key:         key,
			Fingerprint: idempotency.Fingerprint(s.Secret, message.ClientIdentifier, message.Text, string(message.Context)),
			Response:    []byte(message.ID),
		}
	}
	if endpoint.BotAPI.Version == store.BotV1 {
		return s.takeAndWait(ctx, endpoint, message, record)
	}
	return s.take(ctx, endpoint, message, record)
}

// enter finds the integration that a call names, if the caller may send to it
// now. Errors: BOT_API_NOT_FOUND, BOT_API_TOKEN_INVALID, RATE_LIMITED, those of
// the store.
func (s *BotServer) enter(ctx context.Context, r *channelv1.ReceiveBotMessageRequest) (*directory.Endpoint, error) {
	name := strings.ToLower(r.GetId())
	if !id.Valid(name) {
		return nil, BotAPINotFound(r.GetId())
	}
	if !s.Directory.Knows(name) {
		if err := s.Gate.Unknown(ctx); err != nil {
			return nil, err
		}
	}
	endpoint, err := s.Directory.Endpoint(ctx, name)
	if errors.Is(err, directory.ErrNotFound) || err == nil && (endpoint.BotAPI == nil || endpoint.Instance != r.GetSlug()) {
		s.Gate.NotFound(ctx)
		return nil, BotAPINotFound(r.GetId())
	}
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if err := s.Gate.Guess(ctx, endpoint.ID); err != nil {
		return nil, err
	}
	if !s.Tokens.Fits(endpoint.Instance, endpoint.ID, rawToken(ctx), endpoint.BotAPI.TokenHash) {
		s.Gate.Misfit(ctx, endpoint.ID)
		return nil, errBotToken
	}
	return endpoint, s.Gate.Enter(endpoint.ID)
}

// optionValue is the form of an option's value. A text of that form is a pick,
// if there is such an option, as its title is.
var optionValue = regexp.MustCompile(`^(section[0-9]{1,4}-)?index[0-9]{1,4}$`)

// message makes the message of a call.
func (s *BotServer) message(r *channelv1.ReceiveBotMessageRequest, endpoint *directory.Endpoint) (*store.Message, error) {
	m := &store.Message{
		ThreadKey: store.ThreadKey{Instance: endpoint.Instance, ChannelID: endpoint.ID, ClientIdentifier: r.GetIdentifier()},
		ID:        s.IDs.NewOrdered(), Text: r.GetInput().GetText(), CreateTime: s.Clock.Now(),
	}
	if optionValue.MatchString(m.Text) {
		m.Postback = m.Text
	}
	sent := r.GetContext()
	if len(sent.GetFields()) == 0 {
		return m, nil
	}
	switch {
	case deeper(structpb.NewStructValue(sent), maxContextDepth):
		return nil, rpcerr.Invalid(rpcerr.Violation{Field: "context", Reason: "is nested too deep"})
	case len(messagejson.AppendStruct(nil, sent)) > maxContext:
		return nil, rpcerr.Invalid(rpcerr.Violation{Field: "context", Reason: "must be at most 64 KiB"})
	}
	var err error
	if m.Context, err = (proto.MarshalOptions{Deterministic: true}).Marshal(sent); err != nil {
		return nil, rpcerr.Internal(err)
	}
	return m, nil
}

// deeper reports whether a value has more levels of objects and lists than that.
func deeper(v *structpb.Value, levels int) bool {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		if levels == 0 {
			return true
		}
		for _, inner := range kind.StructValue.GetFields() {
			if deeper(inner, levels-1) {
				return true
			}
		}
	case *structpb.Value_ListValue:
		if levels == 0 {
			return true
		}
		for _, inner := range kind.ListValue.GetValues() {
			if deeper(inner, levels-1) {
				return true
			}
		}
	}
	return false
}

// take stores the message.
func (s *BotServer) take(ctx context.Context, endpoint *directory.Endpoint, m *store.Message, key *store.Key) (*channelv1.ReceiveBotMessageResponse, error) {
	accepted, err := s.Inbox.take(ctx, m, key)
	switch {
	case errors.Is(err, store.ErrChannelNotFound):
		s.Directory.Forget(endpoint.ID)
		return nil, BotAPINotFound(endpoint.ID)
	case err != nil:
		return nil, rpcerr.FromStore(err)
	}
	return &channelv1.ReceiveBotMessageResponse{Code: http.StatusOK, Message: messageSent, MessageId: accepted.MessageID}, nil
}

// rawToken is the token in a call's `authorization: <token>`, or "". A scheme
// that people are used to write before it is passed over.
func rawToken(ctx context.Context) string {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) != 1 {
		return ""
	}
	if token := auth.BearerToken(ctx); token != "" {
		return token
	}
	return strings.TrimSpace(values[0])
}

// Package inbound takes the messages of API Channels and of the Bot API. What it
// has answered is on disk.
package inbound

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/gate"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Deps are what the server works with.
type Deps struct {
	Inbox     *Inbox
	Directory *directory.Directory
	Tokens    Tokens
	Gate      *gate.Gate
	Clock     clock.Clock
	IDs       *id.Source
	// Secret keys the fingerprints of requests.
	Secret []byte
}

// Server implements the InboundService.
type Server struct {
	channelv1.UnimplementedInboundServiceServer
	Deps
}

// New returns a server.
func New(deps Deps) *Server { return &Server{Deps: deps} }

var errToken = rpcerr.New(codes.Unauthenticated, channelv1.ErrorReason_ERROR_REASON_INBOUND_TOKEN_INVALID,
	"the channel wants its inbound token: authorization: Bearer <token>")

// NotFound is the error for a channel that is not there, or not the caller's.
func NotFound(id string) error {
	return rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_CHANNEL_NOT_FOUND, "no such channel", "id", id)
}

// ReceiveMessage implements the InboundService.
func (s *Server) ReceiveMessage(ctx context.Context, r *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
	channelID := strings.ToLower(r.GetChannelId())
	key, keyed, err := idempotency.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	channel, err := s.enter(ctx, channelID)
	if err != nil {
		return nil, err
	}
	message := &store.Message{
		ThreadKey: store.ThreadKey{Instance: channel.Instance, ChannelID: channel.ID, ClientIdentifier: r.GetClientIdentifier()},
		ID:        s.IDs.NewOrdered(), Text: r.GetText(), Postback: r.GetPostback(), CreateTime: s.Clock.Now(),
	}
	var record *store.Key
	if keyed {
		leave, err := s.Inbox.enter(channel.ID, key)
		if err != nil {
			return nil, err
		}
		defer leave()
		record = &store.Key{
			Scope:       "ReceiveMessage/" + channel.ID,
			Key:         key,
			Fingerprint: idempotency.Fingerprint(s.Secret, r.GetClientIdentifier(), r.GetType(), r.GetText(), r.GetPostback()),
			Response:    []byte(message.ID),
		}
	}
	accepted, err := s.Inbox.take(ctx, message, record)
	switch {
	case errors.Is(err, store.ErrChannelNotFound):
		s.Directory.Forget(channel.ID)
		return nil, NotFound(channel.ID)
	case err != nil:
		return nil, rpcerr.FromStore(err)
	}
	return &channelv1.ReceiveMessageResponse{Status: "ok", MessageId: accepted.MessageID}, nil
}

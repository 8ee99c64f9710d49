// Package inbound takes the messages of an API Channel. What it has answered is
// on disk.
package inbound

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/metric"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Store is the part of the store that taking messages needs.
type Store interface {
	Accept(ctx context.Context, m *store.Message, key *store.Key, hold time.Time) (store.Accepted, error)
}

// Turns is what becomes of messages.
type Turns interface {
	// Reserve takes a slot for one more thread and returns the end of the lease
	// to ask for; false if there is none. A slot must be given back by Start or
	// Unreserve.
	Reserve() (until time.Time, ok bool)
	Unreserve()
	// Queued says that a message was accepted without a slot.
	Queued()
	// Start answers the messages of a thread that was taken for the slot.
	Start(t store.Thread)
}

// Deps are what the server works with.
type Deps struct {
	Store     Store
	Directory *directory.Directory
	Turns     Turns
	Tokens    Tokens
	Clock     clock.Clock
	IDs       *id.Source
	Metrics   prometheus.Registerer
	// Secret keys the fingerprints of requests.
	Secret []byte
}

// Server implements the InboundService.
type Server struct {
	channelv1.UnimplementedInboundServiceServer
	Deps
	inFlight keysInFlight
	accepted prometheus.Counter
	replayed prometheus.Counter
}

// New returns a server.
func New(deps Deps) (*Server, error) {
	s := &Server{
		Deps:     deps,
		inFlight: keysInFlight{keys: make(map[channelKey]struct{})},
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "prosa_channel_messages_accepted_total", Help: "Messages stored and acknowledged.",
		}),
		replayed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "prosa_channel_messages_replayed_total", Help: "Repetitions answered by their idempotency key; nothing was stored.",
		}),
	}
	return s, metric.Register(deps.Metrics, s.accepted, s.replayed)
}

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
	channel, err := s.Directory.Get(ctx, channelID)
	if errors.Is(err, store.ErrChannelNotFound) {
		return nil, NotFound(channelID)
	}
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if channel.InboundTokenHash != nil && !s.Tokens.Fits(channel.Instance, channel.ID, bearer(ctx), channel.InboundTokenHash) {
		return nil, errToken
	}
	message := &store.Message{
		ThreadKey: store.ThreadKey{Instance: channel.Instance, ChannelID: channel.ID, ClientIdentifier: r.GetClientIdentifier()},
		ID:        s.IDs.NewOrdered(), Text: r.GetText(), Postback: r.GetPostback(), CreateTime: s.Clock.Now(),
	}
	var record *store.Key
	if keyed {
		mark := channelKey{channel.ID, key}
		if !s.inFlight.enter(mark) {
			return nil, idempotency.ErrInFlight
		}
		defer s.inFlight.leave(mark)
		record = &store.Key{
			Scope:       "ReceiveMessage/" + channel.ID,
			Key:         key,
			Fingerprint: idempotency.Fingerprint(s.Secret, r.GetClientIdentifier(), r.GetType(), r.GetText(), r.GetPostback()),
			Response:    []byte(message.ID),
		}
	}
	return s.accept(ctx, message, record)
}

// accept stores the message. When a turn can begin at once, the accepting
// transaction takes the thread for it, which saves the claim.
func (s *Server) accept(ctx context.Context, m *store.Message, key *store.Key) (*channelv1.ReceiveMessageResponse, error) {
	until, reserved := s.Turns.Reserve()
	accepted, err := s.Store.Accept(ctx, m, key, until)
	switch {
	case reserved && err == nil && accepted.Held.OK:
		m.Seq = accepted.Held.Seq
		s.Turns.Start(store.Thread{ThreadKey: m.ThreadKey, Epoch: accepted.Held.Epoch, DoneSeq: m.Seq - 1, Pending: []store.Message{*m}})
	case reserved:
		s.Turns.Unreserve()
	case err == nil && !accepted.Replayed:
		s.Turns.Queued()
	}
	switch {
	case errors.Is(err, store.ErrChannelNotFound):
		s.Directory.Forget(m.ChannelID)
		return nil, NotFound(m.ChannelID)
	case err != nil:
		return nil, rpcerr.FromStore(err)
	case accepted.Replayed:
		s.replayed.Inc()
	default:
		s.accepted.Inc()
	}
	return &channelv1.ReceiveMessageResponse{Status: "ok", MessageId: accepted.MessageID}, nil
}

package inbound

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// sourceAgent is the source of conversations whose callers ask for what is said
// in them: nothing is delivered there.
const sourceAgent = "agent"

// ReplyStore is the part of the store that replies need beside the inbox.
type ReplyStore interface {
	Recall(ctx context.Context, instance string, key *store.Key, now time.Time) ([]byte, error)
	Remember(ctx context.Context, instance string, key *store.Key, now time.Time) ([]byte, error)
}

// ReplyDeps are what the server works with.
type ReplyDeps struct {
	Inbox *Inbox
	Store ReplyStore
	Agent agentv1.ReplyTurnServiceClient
	Clock clock.Clock
	IDs   *id.Source
	// Secret keys the fingerprints of requests.
	Secret []byte
}

// ReplyServer implements the ReplyService.
type ReplyServer struct {
	channelv1.UnimplementedReplyServiceServer
	ReplyDeps
}

// NewReplyServer returns a server.
func NewReplyServer(deps ReplyDeps) *ReplyServer { return &ReplyServer{ReplyDeps: deps} }

// ReplyToAttendance implements the ReplyService.
func (s *ReplyServer) ReplyToAttendance(ctx context.Context, r *channelv1.ReplyToAttendanceRequest) (*channelv1.ReplyToAttendanceResponse, error) {
	key, keyed, err := idempotency.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	var record *store.Key
	if keyed {
		leave, err := s.Inbox.enter("ReplyToAttendance/"+r.GetInstance(), key)
		if err != nil {
			return nil, err
		}
		defer leave()
		record = &store.Key{
			Scope: "ReplyToAttendance", Key: key,
			Fingerprint: idempotency.Fingerprint(s.Secret, strconv.FormatInt(r.GetId(), 10), r.GetText()),
		}
		// Before the attendance is looked at: it may be over by now.
		first, err := s.Store.Recall(ctx, r.GetInstance(), record, s.Clock.Now())
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		if first != nil {
			return s.repeat(ctx, r, string(first))
		}
	}
	found, err := s.Agent.LookupHandoff(ctx, &agentv1.LookupHandoffRequest{Instance: r.GetInstance(), AttendanceId: r.GetId()})
	if err != nil {
		return nil, fromAgent(err, r.GetId())
	}
	if found.GetSource() == sourceAgent {
		return s.keep(ctx, r, found, record)
	}
	return s.take(ctx, r, found, record)
}

// take puts the words into the inbox, behind all that the person said before.
func (s *ReplyServer) take(
	ctx context.Context, r *channelv1.ReplyToAttendanceRequest, found *agentv1.LookupHandoffResponse, record *store.Key,
) (*channelv1.ReplyToAttendanceResponse, error) {
	message := &store.Message{
		ThreadKey: store.ThreadKey{Instance: r.GetInstance(), ChannelID: found.GetEndpointId(), ClientIdentifier: found.GetIdentifier()},
		ID:        s.IDs.NewOrdered(), Text: r.GetText(), CreateTime: s.Clock.Now(), ReplyTo: found.GetInteractionId(),
	}
	if record != nil {
		record.Response = []byte(message.ID)
	}
	accepted, err := s.Inbox.take(ctx, message, record)
	if errors.Is(err, store.ErrChannelNotFound) {
		return nil, rpcerr.New(codes.FailedPrecondition, channelv1.ErrorReason_ERROR_REASON_ATTENDANCE_UNREACHABLE,
			"the channel or integration by which the person came is deleted", "id", strconv.FormatInt(r.GetId(), 10))
	}
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return &channelv1.ReplyToAttendanceResponse{MessageId: accepted.MessageID}, nil
}

// keep has the words stored by the agent service at once: they are delivered to
// nobody, so that they need not wait for their turn here. The key is stored
// first, with the message's id and its conversation: whoever repeats the call
// stores that same message, if it is not stored yet.
func (s *ReplyServer) keep(
	ctx context.Context, r *channelv1.ReplyToAttendanceRequest, found *agentv1.LookupHandoffResponse, record *store.Key,
) (*channelv1.ReplyToAttendanceResponse, error) {
	kept := s.IDs.NewOrdered() + keptFor + found.GetInteractionId()
	if record != nil {
		record.Response = []byte(kept)
		first, err := s.Store.Remember(ctx, r.GetInstance(), record, s.Clock.Now())
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		kept = string(first)
	}
	return s.repeat(ctx, r, kept)
}

// keptFor stands between the id of a message and the conversation for which it
// is kept.
const keptFor = "/"

// repeat answers with the message that a key stands for, and has it stored if it
// is one that is kept.
func (s *ReplyServer) repeat(ctx context.Context, r *channelv1.ReplyToAttendanceRequest, first string) (*channelv1.ReplyToAttendanceResponse, error) {
	messageID, interaction, kept := strings.Cut(first, keptFor)
	if kept {
		_, err := s.Agent.RunReply(ctx, &agentv1.RunReplyRequest{
			Instance: r.GetInstance(), InteractionId: interaction, MessageId: messageID, Text: r.GetText(),
			AcceptTime: timestamppb.New(s.Clock.Now()),
		})
		if err != nil {
			return nil, fromAgent(err, r.GetId())
		}
	}
	return &channelv1.ReplyToAttendanceResponse{MessageId: messageID}, nil
}

// fromAgent makes of what the agent service answered what the caller may know.
func fromAgent(err error, attendance int64) error {
	number := strconv.FormatInt(attendance, 10)
	switch rpcerr.Reason(err) {
	case "ATTENDANCE_NOT_FOUND":
		return rpcerr.New(codes.NotFound, contactsv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_FOUND, "no such attendance", "id", number)
	case "ATTENDANCE_FINISHED":
		return rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_ATTENDANCE_FINISHED, "the attendance is finished", "id", number)
	case "ATTENDANCE_NOT_HANDED_OVER":
		return rpcerr.New(codes.FailedPrecondition, agentv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_HANDED_OVER,
			"the bot has the attendance, no people", "id", number)
	}
	if code := rpcerr.Code(err); code == codes.Internal || code == codes.Unknown {
		return rpcerr.Internal(err)
	}
	return rpcerr.Unavailable(err)
}

package handoff

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// Lookup gives the conversation of an attendance that people have. Errors: ATTENDANCE_NOT_FOUND, ATTENDANCE_NOT_HANDED_OVER,
// ATTENDANCE_FINISHED.
func (h *Handoffs) Lookup(ctx context.Context, instance string, number int64) (*store.Attended, error) {
	a, err := h.Store.Attended(ctx, h.Store.Reader(), instance, number)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(number)
	}
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if !a.Open() {
		return nil, finished(number)
	}
	state, err := flowState(a)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	if state.GetHandoff() == nil {
		return nil, notHandedOver(number)
	}
	return a, nil
}

// Reply stores what people said as a turn, or gives its stored answer when it is there. It asks no longer who has the conversation: the
// words were taken while people had it. Errors: ATTENDANCE_NOT_FOUND; UNAVAILABLE, DEADLINE_EXCEEDED and CANCELED, after which the same
// call finds out what happened; INTERNAL.
func (h *Handoffs) Reply(ctx context.Context, request *agentv1.RunReplyRequest) (*agentv1.RunTurnResponse, error) {
	var response *agentv1.RunTurnResponse
	err := h.again(ctx, func(ctx context.Context) (err error) {
		response, err = h.reply(ctx, request)
		return err
	})
	return response, err
}

// reply is one attempt: store.ErrConflict when something overtook it.
func (h *Handoffs) reply(ctx context.Context, request *agentv1.RunReplyRequest) (*agentv1.RunTurnResponse, error) {
	stored, err := h.Store.Answer(ctx, request.GetInstance(), request.GetMessageId())
	if err == nil {
		response := &agentv1.RunTurnResponse{}
		if err := proto.Unmarshal(stored, response); err != nil {
			return nil, fmt.Errorf("decode stored answer: %w", err)
		}
		return response, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	to, err := h.Store.AttendedByID(ctx, h.Store.Reader(), request.GetInstance(), request.GetInteractionId())
	if errors.Is(err, store.ErrNotFound) {
		return nil, rpcerr.New(codes.NotFound, contactsv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_FOUND, "no such attendance",
			"id", request.GetInteractionId())
	}
	if err != nil {
		return nil, err
	}
	response, err := answer(request, to)
	if err != nil {
		return nil, err
	}
	// The words were said when they were accepted, whenever they are stored.
	record := &contactsv1.TurnRecord{UserTime: request.GetAcceptTime(), AnswerTime: request.GetAcceptTime(), AnsweredByHuman: true}
	committed := &store.Reply{To: to, ID: request.GetMessageId(), Time: h.Clock.Now()}
	if committed.Answer, err = encode(response); err != nil {
		return nil, err
	}
	if committed.Record, err = encode(record); err != nil {
		return nil, err
	}
	if err := h.Store.CommitReply(ctx, committed); err != nil {
		return nil, err
	}
	h.Committed(&store.Turn{Lane: to.Lane, ID: committed.ID, Answer: committed.Answer, Record: committed.Record}, record, response)
	return response, nil
}

// answer is what the conversation gets.
func answer(request *agentv1.RunReplyRequest, to *store.Attended) (*agentv1.RunTurnResponse, error) {
	response := &agentv1.RunTurnResponse{
		ContactId: to.ContactID, InteractionId: to.ID, AttendanceId: to.AttendanceID,
		Messages: []*messagev1.Message{{
			Origin: messagev1.Origin_ORIGIN_HUMAN, CreateTime: timestamppb.New(request.GetAcceptTime().AsTime().Truncate(time.Millisecond)),
			Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: request.GetText()}},
		}},
		Debug: &agentv1.TurnDebug{AgentVersion: to.AgentVersion},
	}
	if request.GetReturnContext() {
		state, err := flowState(to)
		if err != nil {
			return nil, err
		}
		response.Context = &structpb.Struct{Fields: state.GetContext().GetFields()}
	}
	return response, nil
}

package agent

import (
	"context"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/handoff"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
)

// handoffServer is HandoffService.
type handoffServer struct {
	agentv1.UnimplementedHandoffServiceServer
	handoffs *handoff.Handoffs
}

// HandBackAttendance gives an attendance back to the bot.
func (s *handoffServer) HandBackAttendance(
	ctx context.Context, r *agentv1.HandBackAttendanceRequest,
) (*agentv1.HandBackAttendanceResponse, error) {
	key, err := idempotency.OfRequest(ctx, r.GetInstance(), agentv1.HandoffService_HandBackAttendance_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	attendance, err := s.handoffs.HandBack(ctx, r.GetInstance(), r.GetId(), key)
	if err != nil {
		return nil, err
	}
	return &agentv1.HandBackAttendanceResponse{Attendance: attendance}, nil
}

// FinishAttendance ends an attendance.
func (s *handoffServer) FinishAttendance(
	ctx context.Context, r *agentv1.FinishAttendanceRequest,
) (*agentv1.FinishAttendanceResponse, error) {
	key, err := idempotency.OfRequest(ctx, r.GetInstance(), agentv1.HandoffService_FinishAttendance_FullMethodName, r)
	if err != nil {
		return nil, err
	}
	attendance, err := s.handoffs.Finish(ctx, r.GetInstance(), r.GetId(), key)
	if err != nil {
		return nil, err
	}
	return &agentv1.FinishAttendanceResponse{Attendance: attendance}, nil
}

// replyServer is ReplyTurnService.
type replyServer struct {
	agentv1.UnimplementedReplyTurnServiceServer
	handoffs *handoff.Handoffs
}

// LookupHandoff gives the conversation of an attendance that people have.
func (s *replyServer) LookupHandoff(ctx context.Context, r *agentv1.LookupHandoffRequest) (*agentv1.LookupHandoffResponse, error) {
	a, err := s.handoffs.Lookup(ctx, r.GetInstance(), r.GetAttendanceId())
	if err != nil {
		return nil, err
	}
	return &agentv1.LookupHandoffResponse{
		InteractionId: a.ID, Source: a.Source, EndpointId: a.Lane.EndpointID, Identifier: a.Lane.Identifier,
	}, nil
}

// RunReply stores what people said.
func (s *replyServer) RunReply(ctx context.Context, r *agentv1.RunReplyRequest) (*agentv1.RunReplyResponse, error) {
	turn, err := s.handoffs.Reply(ctx, r)
	if err != nil {
		return nil, err
	}
	return &agentv1.RunReplyResponse{Turn: turn}, nil
}

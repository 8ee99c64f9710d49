package inbound

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/callback"
	"github.com/prosa-chat/prosa/services/channel/internal/directory"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/channel/internal/turns"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

var (
	errLate = rpcerr.New(codes.DeadlineExceeded, channelv1.ErrorReason_ERROR_REASON_ANSWER_LATE,
		"the agent did not answer in time; the turn goes on")
	errNoAnswer = rpcerr.New(codes.Internal, channelv1.ErrorReason_ERROR_REASON_ANSWER_FAILED, "no turn could answer the message")
)

// takeAndWait stores the message and waits for the agent's answer. A caller that
// goes away, or waits no longer, changes nothing: the turn goes on.
func (s *BotServer) takeAndWait(
	ctx context.Context, endpoint *directory.Endpoint, m *store.Message, key *store.Key,
) (*channelv1.ReceiveBotMessageResponse, error) {
	late := s.Clock.NewTimer(s.AnswerTimeout)
	defer late.Stop()
	waiting, stop := s.Waiters.wait(m.ID) // before it is stored: the answer may come at once
	defer func() { stop() }()
	response, err := s.take(ctx, endpoint, m, key)
	if err != nil {
		return nil, err
	}
	repeated := response.GetMessageId() != m.ID
	if repeated {
		// The first call's message may have been answered long ago.
		stop()
		m.ID = response.GetMessageId()
		m.CreateTime = id.OrderedTime(m.ID) // as the agent must know, in case the person was erased since
		waiting, stop = s.Waiters.wait(m.ID)
	}
	poll := s.Clock.NewTimer(s.Poll)
	defer poll.Stop()
	for look := repeated; ; look = true {
		if look {
			turn, err := s.stored(ctx, endpoint, m)
			if turn != nil || err != nil {
				return answer(response, endpoint, m, turn), err
			}
		}
		select {
		case turn := <-waiting.answered:
			return answer(response, endpoint, m, turn), nil
		case <-waiting.look:
		case <-poll.C():
			// Another process may have run the turn.
			poll.Reset(s.Poll)
		case <-late.C():
			return nil, errLate
		case <-ctx.Done():
			return nil, errLate
		}
	}
}

func answer(
	response *channelv1.ReceiveBotMessageResponse, endpoint *directory.Endpoint, m *store.Message, turn *agentv1.RunTurnResponse,
) *channelv1.ReceiveBotMessageResponse {
	if turn == nil {
		return nil
	}
	response.Answer = callback.Answer(endpoint.BotAPI, m.ClientIdentifier, turn)
	return response
}

// stored gives the answer to a message whose turn has ended; nil while it has
// not, or the store or the agent cannot tell. Errors: ANSWER_FAILED,
// BOT_API_NOT_FOUND.
func (s *BotServer) stored(ctx context.Context, endpoint *directory.Endpoint, m *store.Message) (*agentv1.RunTurnResponse, error) {
	outcome, err := s.Store.Outcome(ctx, m.ThreadKey, m.ID)
	if err != nil || outcome == store.Waiting {
		return nil, nil //nolint:nilerr // the next look may find out
	}
	if outcome == store.SetAside {
		return nil, errNoAnswer
	}
	// It was cancelled if the integration is gone; then there is no answer, and
	// the agent must not be asked for one.
	if _, err := s.Store.BotAPIByID(ctx, endpoint.ID); err != nil {
		if errors.Is(err, store.ErrBotAPINotFound) {
			return nil, BotAPINotFound(endpoint.ID)
		}
		return nil, nil //nolint:nilerr // as above
	}
	request, err := turns.Request(endpoint, m)
	if err != nil {
		return nil, rpcerr.Internal(err)
	}
	turn, err := s.Agent.RunTurn(ctx, request)
	if err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	return turn, nil
}

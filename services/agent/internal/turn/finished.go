package turn

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// The senders of history items.
const (
	senderUser = "user"
	senderBot  = "bot"
)

// finishedTurn is the turn as it is committed.
func (r *Runner) finishedTurn(
	request *agentv1.RunTurnRequest, lane store.Lane, c *opening, result *flow.Result, response *agentv1.RunTurnResponse, now time.Time,
) (*store.Turn, error) {
	t := &store.Turn{
		Lane: lane, ID: request.GetMessageId(), Source: request.GetSource(), Conversation: c.Conversation, Finished: result.Finished,
		Time: now,
	}
	var err error
	if t.Conversation.FlowState, err = encode(result.State); err != nil {
		return nil, err
	}
	if t.Answer, err = encode(response); err != nil {
		return nil, err
	}
	if t.Record, err = encode(turnRecord(request, c, result, now)); err != nil {
		return nil, err
	}
	if t.User, err = userItem(request); err != nil {
		return nil, err
	}
	if len(result.Messages) > 0 {
		body, err := encode(&contactsv1.HistoryItem{Time: timestamppb.New(now), Sender: senderBot, Messages: result.Messages})
		if err != nil {
			return nil, err
		}
		t.Bot = &store.Item{ID: r.IDs.New(), Body: body, Time: now}
	}
	return t, nil
}

// userItem is what the person said; nil when the turn was opened by a program.
func userItem(request *agentv1.RunTurnRequest) (*store.Item, error) {
	if request.GetText() == "" && request.GetPostback() == "" {
		return nil, nil
	}
	item := &contactsv1.HistoryItem{Time: request.GetAcceptTime(), Sender: senderUser, Postback: request.GetPostback()}
	if request.GetText() != "" {
		item.Messages = []*messagev1.Message{{
			CreateTime: request.GetAcceptTime(),
			Content:    &messagev1.Message_Text{Text: &messagev1.Text{Text: request.GetText()}},
		}}
	}
	body, err := encode(item)
	if err != nil {
		return nil, err
	}
	return &store.Item{ID: request.GetMessageId(), Body: body, Time: request.GetAcceptTime().AsTime()}, nil
}

func turnRecord(request *agentv1.RunTurnRequest, c *opening, result *flow.Result, now time.Time) *contactsv1.TurnRecord {
	record := &contactsv1.TurnRecord{
		TurnId: request.GetMessageId(), AttendanceId: c.AttendanceID,
		UserTime: request.GetAcceptTime(), UserText: request.GetText(), UserPostback: request.GetPostback(),
		AnswerTime: timestamppb.New(now), Answer: result.Messages,
		Attributes: result.Attributes, Finished: result.Finished,
	}
	for _, e := range result.Events {
		record.Events = append(record.Events, &contactsv1.EventRecord{Name: e.Name, Details: e.Details})
	}
	return record
}

// encode never gives nil, which the store would take for NULL.
func encode(m proto.Message) ([]byte, error) {
	raw, err := proto.MarshalOptions{}.MarshalAppend([]byte{}, m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return raw, nil
}

package turn

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

// finishedTurn is the turn as it is committed.
func finishedTurn(
	request *agentv1.RunTurnRequest, lane store.Lane, c *opening, result *flow.Result, response *agentv1.RunTurnResponse,
	record *contactsv1.TurnRecord, now time.Time,
) (*store.Turn, error) {
	t := &store.Turn{
		Lane: lane, ID: request.GetMessageId(), Source: request.GetSource(), Conversation: c.Conversation, Finished: result.Finished, HandedOver: result.HandedOver,
		Messages: messages(request, result), Time: now,
	}
	var err error
	if t.Conversation.FlowState, err = encode(result.State); err != nil {
		return nil, err
	}
	if t.Answer, err = encode(response); err != nil {
		return nil, err
	}
	if t.Record, err = encode(record); err != nil {
		return nil, err
	}
	return t, nil
}

// messages counts what the turn adds to its conversation: what the person said, unless the turn was opened by a program, and what the
// agent answered, which is one however many parts it has.
func messages(request *agentv1.RunTurnRequest, result *flow.Result) (n int64) {
	if request.GetText() != "" || request.GetPostback() != "" {
		n++
	}
	if len(result.Messages) > 0 {
		n++
	}
	return n
}

// turnRecord is what contacts is told beside what the answer says.
func turnRecord(request *agentv1.RunTurnRequest, result *flow.Result, now time.Time) *contactsv1.TurnRecord {
	record := &contactsv1.TurnRecord{
		UserTime: request.GetAcceptTime(), UserText: request.GetText(), UserPostback: request.GetPostback(),
		AnswerTime: timestamppb.New(now), Attributes: result.Attributes,
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

package conversation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/messageid"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/pagetoken"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// maxMessages is how many messages a page has at most, and unless the caller says otherwise.
	maxMessages = 10_000
	// maxMessageBytes is about how large a page becomes, under the 4 MiB that a caller takes.
	maxMessageBytes = 2 << 20
	// readAtOnce is how many turns are read at a time.
	readAtOnce = 200
)

// Who said something, as the contract writes it.
const (
	senderUser  = "user"
	senderBot   = "bot"
	senderHuman = "human"
)

// Messages gives a page of what was said in a conversation, oldest first. Errors: CONVERSATION_NOT_FOUND, REQUEST_INVALID.
func (c *Conversations) Messages(
	ctx context.Context, instance string, r *agentv1.ListMessagesRequest,
) (*agentv1.ListMessagesResponse, error) {
	id := r.GetIdConversation()
	if !plausible(id) {
		return nil, notFound(id)
	}
	last, err := c.Store.LastLink(ctx, instance, id)
	if err != nil {
		return nil, fail(err, id)
	}
	at := position{turn: 1}
	if r.GetCursor() != "" {
		raw, err := c.Tokens.Decode(r.GetCursor(), instance, messagesScope(id))
		ok := false
		if err == nil {
			at, ok = decodePosition(raw)
		}
		if !ok {
			return nil, rpcerr.Invalid(pagetoken.Violation("cursor", err))
		}
	}
	limit := maxMessages
	if r.Limit != nil {
		limit = int(r.GetLimit())
	}
	p := page{position: at, limit: limit, answer: &agentv1.ListMessagesResponse{}}
	more := true
	for more && len(p.answer.GetMessages()) == 0 { // in some turns nobody said anything
		links, err := c.links(ctx, instance, id, &p.position, last, limit)
		if err != nil {
			return nil, rpcerr.FromStore(err)
		}
		for from := 0; from < len(links) && !p.full; from += readAtOnce {
			if err := c.read(ctx, instance, id, links[from:min(from+readAtOnce, len(links))], &p); err != nil {
				return nil, rpcerr.FromStore(err)
			}
		}
		more = p.full || p.turn <= last.Number && len(links) > 0
	}
	if more {
		cursor := c.Tokens.Encode(instance, messagesScope(id), p.encode())
		p.answer.Cursor = &cursor
	}
	return p.answer, nil
}

func messagesScope(conversationID string) string {
	return agentv1.ConversationService_ListMessages_FullMethodName + "\x00" + conversationID
}

// links gives the turns of a page, oldest first. The chain of a conversation's turns leads from the newest to the oldest, so the first page
// follows all of it, without reading what was said, and leaves steps in the cursor from which the pages behind it begin.
func (c *Conversations) links(ctx context.Context, instance, id string, at *position, last store.Link, limit int) ([]store.Link, error) {
	if last.TurnID == "" || at.turn > last.Number {
		return nil, nil
	}
	end := at.turn + int64(limit) // a turn has two messages at most, one or none seldom
	for len(at.steps) > 0 && at.steps[0].Number < at.turn {
		at.steps = at.steps[1:]
	}
	upTo := last
	for _, step := range at.steps {
		if step.Number >= end {
			upTo = step
			break
		}
	}
	links, err := c.Store.Chain(ctx, instance, id, at.turn, upTo.TurnID)
	if err != nil {
		return nil, err
	}
	if len(at.steps) == 0 {
		at.steps = newSteps(links)
	}
	if int64(len(links)) > int64(limit) {
		links = links[:limit]
	}
	return links, nil
}

// page is a page of messages on its way.
type page struct {
	// position is where the next page begins.
	position
	limit, size int
	full        bool
	answer      *agentv1.ListMessagesResponse
}

// read adds the messages of turns to the page, until it is full.
func (c *Conversations) read(ctx context.Context, instance, id string, links []store.Link, p *page) error {
	ids := make([]string, len(links))
	for i := range links {
		ids[i] = links[i].TurnID
	}
	said, err := c.Store.Said(ctx, instance, ids)
	if err != nil {
		return err
	}
	feedback, err := c.Store.Feedback(ctx, instance, id, ids)
	if err != nil {
		return err
	}
	for _, link := range links {
		turn, ok := said[link.TurnID]
		if !ok {
			continue // erased at this moment
		}
		messages, err := messagesOf(link.TurnID, turn)
		if err != nil {
			return err
		}
		if given, ok := feedback[link.TurnID]; ok {
			for _, m := range messages {
				if m.GetSender() != senderUser {
					m.Feedback = &given
				}
			}
		}
		if p.add(link.Number, messages); p.full {
			return nil
		}
	}
	return nil
}

// add puts the messages of a turn on the page, those that the page before had not. It is full when one has no room.
func (p *page) add(turn int64, messages []*agentv1.ConversationMessage) {
	skip := 0
	if turn == p.turn {
		skip = int(p.shown)
	}
	for i, m := range messages {
		if i < skip {
			continue
		}
		size := proto.Size(m)
		if n := len(p.answer.GetMessages()); n == p.limit || n > 0 && p.size+size > maxMessageBytes {
			p.turn, p.shown, p.full = turn, int64(i), true
			return
		}
		p.size += size
		p.answer.Messages = append(p.answer.Messages, m)
	}
	p.turn, p.shown = turn+1, 0
}

// messagesOf are the messages of a turn: what the person said, and the answer.
func messagesOf(turnID string, said store.Said) ([]*agentv1.ConversationMessage, error) {
	record, answer := &contactsv1.TurnRecord{}, &agentv1.RunTurnResponse{}
	if err := errors.Join(proto.Unmarshal(said.Record, record), proto.Unmarshal(said.Answer, answer)); err != nil {
		return nil, fmt.Errorf("decode turn: %w", err)
	}
	var messages []*agentv1.ConversationMessage
	if record.GetUserText() != "" || record.GetUserPostback() != "" {
		m := &agentv1.ConversationMessage{
			Id: messageid.OfPerson(turnID), Sender: senderUser, CreatedAt: milliseconds(record.GetUserTime()), Postback: record.GetUserPostback(),
		}
		if record.GetUserText() != "" {
			m.Message = []*messagev1.Message{{
				CreateTime: m.CreatedAt, Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: record.GetUserText()}},
			}}
		}
		messages = append(messages, m)
	}
	if !isAnswer(answer) {
		return messages, nil
	}
	m := &agentv1.ConversationMessage{
		Id: turnID, Sender: senderBot, Message: answer.GetMessages(), CreatedAt: milliseconds(record.GetAnswerTime()),
		Interrupted: answer.GetInterrupted(),
	}
	if record.GetAnsweredByHuman() {
		m.Sender = senderHuman
	}
	return append(messages, m), nil
}

// isAnswer reports whether anything was answered.
func isAnswer(answer *agentv1.RunTurnResponse) bool { return len(answer.GetMessages()) > 0 }

func milliseconds(t *timestamppb.Timestamp) *timestamppb.Timestamp {
	return timestamppb.New(t.AsTime().Truncate(time.Millisecond))
}

// RateMessage keeps what somebody thinks of an answer. Errors: MESSAGE_NOT_FOUND.
func (c *Conversations) RateMessage(ctx context.Context, instance, id, feedback string) error {
	if !plausible(id) {
		return messageNotFound(id)
	}
	conversation, said, err := c.Store.SaidIn(ctx, instance, id)
	if err == nil {
		answer := &agentv1.RunTurnResponse{}
		if err := proto.Unmarshal(said.Answer, answer); err != nil {
			return rpcerr.Internal(fmt.Errorf("decode turn: %w", err))
		}
		if !isAnswer(answer) {
			return messageNotFound(id)
		}
		err = c.Store.SetFeedback(ctx, instance, conversation, id, feedback, c.Clock.Now())
	}
	if isNotFound(err) {
		return messageNotFound(id)
	}
	return rpcerr.FromStore(err)
}

package person

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/outbox"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	// maxDocument is how large what this service adds to a document may become, in
	// bytes.
	maxDocument = 32 << 20
	// describedAtOnce is how many messages or deliveries are read at once.
	describedAtOnce = 200
)

// GetContact implements the PersonService.
func (s *Server) GetContact(ctx context.Context, r *channelv1.GetContactRequest) (*channelv1.GetContactResponse, error) {
	if _, err := s.Instances.Get(ctx, r.GetInstance()); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	known, err := s.Agent.DescribePerson(ctx, &agentv1.DescribePersonRequest{Instance: r.GetInstance(), Identifier: r.GetIdentifier()},
		grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return nil, rpcerr.FromPeer(err, errTooLarge)
	}
	response := &channelv1.GetContactResponse{
		Identifier: r.GetIdentifier(), ContactId: known.GetPerson().GetContactId(), CreateTime: known.GetPerson().GetCreateTime(),
		Attributes: known.GetPerson().GetAttributes(), Attendances: known.GetPerson().GetAttendances(), Conversations: known.GetConversations(),
	}
	found, err := s.describe(ctx, r.GetInstance(), response)
	if err != nil {
		return nil, rpcerr.FromStore(err)
	}
	if !found && known.GetPerson() == nil && len(known.GetConversations()) == 0 {
		return nil, errNotFound
	}
	return response, nil
}

// describe adds what this service keeps, and reports whether there is a thread.
func (s *Server) describe(ctx context.Context, instance string, into *channelv1.GetContactResponse) (found bool, err error) {
	endpoints, err := s.Store.Endpoints(ctx, instance)
	if err != nil {
		return false, err
	}
	threads, err := s.Store.PersonThreads(ctx, instance, into.GetIdentifier(), endpoints)
	if err != nil {
		return false, err
	}
	left := maxDocument
	for _, thread := range threads {
		if err := s.describeThread(ctx, thread, into, &left); err != nil {
			return false, err
		}
	}
	interactions := make(map[string]bool)
	for _, c := range into.GetConversations() {
		interactions[c.GetId()] = true
	}
	for _, a := range into.GetAttendances() {
		interactions[a.GetInteractionId()] = true
	}
	p := &erasing{Server: s, instance: instance, interactions: interactions}
	lanes, err := p.lanes(ctx, endpoints)
	if err != nil {
		return false, err
	}
	for _, lane := range lanes {
		if err := s.describeLane(ctx, lane, into, &left); err != nil {
			return false, err
		}
	}
	return len(threads) > 0, nil
}

// outcomes are the states of messages.
var outcomes = map[store.Outcome]channelv1.PersonMessage_State{
	store.Waiting: channelv1.PersonMessage_PENDING, store.Done: channelv1.PersonMessage_DONE, store.SetAside: channelv1.PersonMessage_SET_ASIDE,
}

func (s *Server) describeThread(ctx context.Context, thread store.ThreadKey, into *channelv1.GetContactResponse, left *int) error {
	for after := int64(0); ; {
		page, err := s.Store.Heard(ctx, thread, after, describedAtOnce)
		if err != nil {
			return err
		}
		for i := range page {
			m := &page[i]
			after = m.Seq
			message := &channelv1.PersonMessage{
				Id: m.ID, EndpointId: m.ChannelID, Sequence: m.Seq, Text: m.Text, Postback: m.Postback, CreateTime: timestamppb.New(m.CreateTime),
				State: outcomes[m.Outcome],
			}
			if m.Context != nil {
				message.Context = &structpb.Struct{}
				if err := proto.Unmarshal(m.Context, message.Context); err != nil {
					return fmt.Errorf("read context of message: %w", err)
				}
			}
			if *left -= proto.Size(message); *left < 0 {
				return errTooLarge
			}
			into.Messages = append(into.Messages, message)
		}
		if len(page) < describedAtOnce {
			return nil
		}
	}
}

func (s *Server) describeLane(ctx context.Context, lane store.LaneKey, into *channelv1.GetContactResponse, left *int) error {
	for after := int64(0); ; {
		page, err := s.Store.Deliveries(ctx, lane, after, describedAtOnce)
		if err != nil {
			return err
		}
		for i := range page {
			d := &page[i]
			after = d.Sequence
			delivery, err := outbox.Resource(&store.Listed{Delivery: *d})
			if err != nil {
				return err
			}
			described := &channelv1.PersonDelivery{Delivery: delivery, Body: &structpb.Struct{}}
			if err := bodyOf(d.Body, described.Body); err != nil {
				return err
			}
			if *left -= proto.Size(described); *left < 0 {
				return errTooLarge
			}
			into.Deliveries = append(into.Deliveries, described)
		}
		if len(page) < describedAtOnce {
			return nil
		}
	}
}

// bodyOf reads what is sent, a JSON object.
func bodyOf(body []byte, into *structpb.Struct) error {
	if !json.Valid(body) {
		return fmt.Errorf("read body of delivery: %d bytes are no JSON", len(body))
	}
	if err := protojson.Unmarshal(body, into); err != nil {
		return fmt.Errorf("read body of delivery: %d bytes are no JSON object", len(body)) // the cause would show some of it
	}
	return nil
}

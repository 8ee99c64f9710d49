package channel_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// fakePeople is the part of the fake agent that people talk to.
type fakePeople struct {
	// handed are the attendances that people have, refused why others cannot be answered.
	handed  map[int64]*agentv1.LookupHandoffResponse
	refused map[int64]protoreflect.Enum
	// fail is what RunReply fails with; after it has taken effect, if late.
	fail func(n int) (err error, late bool)
	runs []*agentv1.RunReplyRequest
}

func (a *fakeAgent) LookupHandoff(_ context.Context, r *agentv1.LookupHandoffRequest, _ ...grpc.CallOption) (*agentv1.LookupHandoffResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if reason, refused := a.people.refused[r.GetAttendanceId()]; refused {
		return nil, rpcerr.New(codes.FailedPrecondition, reason, "refused").GRPCStatus().Err()
	}
	found, ok := a.people.handed[r.GetAttendanceId()]
	if !ok || r.GetInstance() != "acme" {
		return nil, rpcerr.New(codes.NotFound, contactsv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_FOUND, "no such attendance").GRPCStatus().Err()
	}
	return found, nil
}

func (a *fakeAgent) RunReply(_ context.Context, r *agentv1.RunReplyRequest, _ ...grpc.CallOption) (*agentv1.RunReplyResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.people.runs = append(a.people.runs, proto.CloneOf(r))
	var err error
	if a.people.fail != nil {
		var late bool
		if err, late = a.people.fail(len(a.people.runs)); err != nil && !late {
			return nil, err
		}
	}
	response := a.answered[r.GetMessageId()]
	if response == nil {
		m := text(r.GetText())
		m.Origin = messagev1.Origin_ORIGIN_HUMAN
		response = &agentv1.RunTurnResponse{
			ContactId: "64a1b2c3d4e5f6a7b8c9d0e1", InteractionId: r.GetInteractionId(), AttendanceId: 1, Messages: []*messagev1.Message{m},
			Debug: &agentv1.TurnDebug{AgentVersion: 3},
		}
		if r.GetReturnContext() {
			response.Context = &structpb.Struct{Fields: map[string]*structpb.Value{"kept": structpb.NewStringValue("sim")}}
		}
		a.answered[r.GetMessageId()] = response
	}
	if err != nil {
		return nil, err
	}
	return &agentv1.RunReplyResponse{Turn: response}, nil
}

// hand gives people the attendance of that number.
func (r *rig) hand(number int64, source, endpointID, person string) {
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	if r.agent.people.handed == nil {
		r.agent.people.handed, r.agent.people.refused = map[int64]*agentv1.LookupHandoffResponse{}, map[int64]protoreflect.Enum{}
	}
	r.agent.people.handed[number] = &agentv1.LookupHandoffResponse{
		InteractionId: interactionOf(person), Source: source, EndpointId: endpointID, Identifier: person,
	}
}

func (r *rig) runs() []*agentv1.RunReplyRequest {
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	return append([]*agentv1.RunReplyRequest(nil), r.agent.people.runs...)
}

func (r *rig) failReplies(fail func(n int) (error, bool)) {
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	r.agent.people.fail = fail
}

func (r *rig) tryReply(ctx context.Context, number int64, words string) (string, error) {
	response, err := r.replies.ReplyToAttendance(ctx, &channelv1.ReplyToAttendanceRequest{Instance: "acme", Id: number, Text: words})
	return response.GetMessageId(), err
}

func (r *rig) reply(ctx context.Context, number int64, words string) string {
	r.t.Helper()
	messageID, err := r.tryReply(ctx, number, words)
	require.NoError(r.t, err)
	require.Regexp(r.t, `^[0-9a-f]{24}$`, messageID)
	return messageID
}

// bodies are what went to a person's lane, in order.
func (r *rig) bodies(c *channelv1.Channel, person string) (all []string) {
	for _, d := range r.lane(c, person) {
		all = append(all, string(d.Body))
	}
	return all
}

func TestRepliesTakeTheirTurn(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		c := r.create(func(c *channelv1.Channel) { c.Test = true })
		r.hand(7, "api_channel", c.GetId(), "ana")
		// All of it is in the inbox before the workers begin, as after a restart.
		r.send(c, "ana", "um")
		r.send(c, "ana", "dois")
		messageID := r.reply(t.Context(), 7, "Sou a Bia.")
		r.send(c, "ana", "três")
		require.EqualValues(t, 4, r.backlog().Messages)
		r.start()
		r.drained()
		got := r.receiver.await(t, 4)
		require.Len(t, got, 4)
		for i, want := range []string{
			`"text":"echo: um","origin":"bot"`, `"text":"echo: dois","origin":"bot"`,
			`{"contactId":"64a1b2c3d4e5f6a7b8c9d0e1","interactionId":"` + interactionOf("ana") + `","messages":[{"type":"text","text":"Sou a Bia.",` +
				`"origin":"human","createdAt":"2024-01-15T10:30:00.000Z"}],` +
				`"debug":{"agentVersion":3,"node":null,"intent":null,"confidence":0,"durationMs":0,"traceId":null}}`,
			`"text":"echo: três","origin":"bot"`,
		} {
			require.Contains(t, got[i].body, want)
			require.Equal(t, strconv.Itoa(i+1), got[i].header.Get("Prosa-Sequence"))
			require.NoError(t, got[i].bad)
		}
		runs := r.runs()
		require.Len(t, runs, 1)
		require.Equal(t, messageID, runs[0].GetMessageId())
		require.Equal(t, "acme", runs[0].GetInstance())
		require.Equal(t, interactionOf("ana"), runs[0].GetInteractionId())
		require.Equal(t, "Sou a Bia.", runs[0].GetText())
		require.WithinDuration(t, time.Now(), runs[0].GetAcceptTime().AsTime(), time.Minute)
		require.False(t, runs[0].GetReturnContext())

		// With a worker that waits for it, a reply takes its thread at once.
		r.reply(t.Context(), 7, "Mais alguma coisa?")
		require.Contains(t, r.receiver.await(t, 5)[4].body, `"text":"Mais alguma coisa?","origin":"human"`)
		r.drained()
		require.NoError(t, testutil.GatherAndCompare(r.metrics, stringReader(`
# HELP prosa_channel_messages_accepted_total Messages stored and acknowledged.
# TYPE prosa_channel_messages_accepted_total counter
prosa_channel_messages_accepted_total 5
`), "prosa_channel_messages_accepted_total"))
	})
}

func TestRepliesWithAKey(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		c := r.create()
		r.hand(7, "api_channel", c.GetId(), "ana")
		r.hand(8, "api_channel", c.GetId(), "bia")
		ctx := keyed("idempotency-key", "k")
		first := r.reply(ctx, 7, "olá")
		require.Equal(t, first, r.reply(ctx, 7, "olá"))
		for _, other := range []func() (string, error){
			func() (string, error) { return r.tryReply(ctx, 7, "outra") },
			func() (string, error) { return r.tryReply(ctx, 8, "olá") },
		} {
			_, err := other()
			requireError(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
		}
		// A repetition is answered although the attendance is over by now.
		r.agent.mu.Lock()
		r.agent.people.refused[7] = agentv1.ErrorReason_ERROR_REASON_ATTENDANCE_FINISHED
		r.agent.mu.Unlock()
		require.Equal(t, first, r.reply(ctx, 7, "olá"))
		_, err := r.tryReply(t.Context(), 7, "olá")
		requireError(t, err, codes.FailedPrecondition, "ATTENDANCE_FINISHED")
		require.NotEqual(t, r.reply(t.Context(), 8, "olá"), r.reply(t.Context(), 8, "olá"), "without a key each is one")
		_, err = r.tryReply(keyed("idempotency-key", ""), 8, "olá")
		requireError(t, err, codes.InvalidArgument, "REQUEST_INVALID")
		r.drained()
		require.Len(t, r.bodies(c, "ana"), 1)
		require.Len(t, r.bodies(c, "bia"), 2)
	})
}

func TestReplyRefusals(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		c, gone := r.create(), r.create()
		r.hand(7, "api_channel", c.GetId(), "ana")
		r.hand(8, "api_channel", gone.GetId(), "ana")
		_, err := r.channels.DeleteChannel(t.Context(), &channelv1.DeleteChannelRequest{Instance: "acme", Id: gone.GetId()})
		require.NoError(t, err)
		r.agent.people.refused[9] = agentv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_HANDED_OVER
		r.agent.people.refused[10] = agentv1.ErrorReason_ERROR_REASON_ATTENDANCE_FINISHED
		for number, want := range map[int64]struct {
			code   codes.Code
			reason string
		}{
			1: {codes.NotFound, "ATTENDANCE_NOT_FOUND"}, 8: {codes.FailedPrecondition, "ATTENDANCE_UNREACHABLE"},
			9: {codes.FailedPrecondition, "ATTENDANCE_NOT_HANDED_OVER"}, 10: {codes.FailedPrecondition, "ATTENDANCE_FINISHED"},
		} {
			for _, ctx := range []context.Context{t.Context(), keyed("idempotency-key", fmt.Sprint("k", number))} {
				_, err := r.tryReply(ctx, number, "olá")
				requireError(t, err, want.code, want.reason)
			}
		}
		_, err = r.replies.ReplyToAttendance(t.Context(), &channelv1.ReplyToAttendanceRequest{Instance: "other", Id: 7, Text: "olá"})
		requireError(t, err, codes.NotFound, "ATTENDANCE_NOT_FOUND")
		require.Zero(t, r.backlog().Messages)
		require.Empty(t, r.runs())
	})
}

func TestRepliesToIntegrations(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	silent := r.createBot(func(b *channelv1.BotApi) { b.CallbackUrl, b.CallbackToken = "", "" })
	waited := r.callingBot(func(b *channelv1.BotApi) { b.Version = channelv1.BotApi_V1 })
	full := r.callingBot(func(b *channelv1.BotApi) { b.IncludeContext = true })
	for i, b := range []*channelv1.BotApi{silent, waited, full} {
		r.hand(int64(i+1), "api", b.GetId(), fmt.Sprint("p", i+1))
	}
	for i, want := range []string{
		"", `{"identifier":"p2","output":[{"type":"text","text":"olá"}]}`,
		`{"identifier":"p3","output":[{"type":"text","text":"olá"}],"context":{"kept":"sim"}}`,
	} {
		before := r.receiver.count()
		r.reply(t.Context(), int64(i+1), "olá")
		r.eventually(func() bool { return len(r.runs()) == i+1 }, "the words are stored")
		r.drained()
		if want == "" {
			require.Equal(t, before, r.receiver.count())
			continue
		}
		got := r.receiver.await(t, before+1)
		require.Equal(t, want, got[before].body)
		require.Equal(t, callbackToken, got[before].header.Get("Authorization"))
	}
}

// A conversation of the conversation API has no endpoint: what people say is kept by the agent service alone.
func TestRepliesThatAreOnlyKept(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		r.hand(7, "agent", "64a1b2c3d4e5f6a7b8c9d0ff", "ana")
		messageID := r.reply(t.Context(), 7, "olá")
		runs := r.runs()
		require.Len(t, runs, 1)
		require.Equal(t, messageID, runs[0].GetMessageId())
		require.Equal(t, interactionOf("ana"), runs[0].GetInteractionId())
		require.Zero(t, r.backlog().Messages)

		// However the first call failed, a repetition stores the message that it began with.
		for n, late := range []bool{false, true} {
			key := keyed("idempotency-key", fmt.Sprint("k", n))
			r.failReplies(func(int) (error, bool) { return rpcerr.Unavailable(nil).GRPCStatus().Err(), late })
			_, err := r.tryReply(key, 7, "olá")
			requireError(t, err, codes.Unavailable, "UNAVAILABLE")
			failed := r.runs()
			r.failReplies(nil)
			r.agent.mu.Lock()
			r.agent.people.refused[7] = agentv1.ErrorReason_ERROR_REASON_ATTENDANCE_FINISHED
			r.agent.mu.Unlock()
			for range 2 {
				require.Equal(t, failed[len(failed)-1].GetMessageId(), r.reply(key, 7, "olá"))
			}
			_, err = r.tryReply(key, 7, "outra")
			requireError(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
			r.agent.mu.Lock()
			delete(r.agent.people.refused, 7)
			require.Len(t, r.agent.answered, n+2, "each is stored once")
			r.agent.mu.Unlock()
		}
		r.failReplies(func(int) (error, bool) {
			return rpcerr.New(codes.NotFound, contactsv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_FOUND, "gone").GRPCStatus().Err(), false
		})
		_, err := r.tryReply(t.Context(), 7, "olá")
		requireError(t, err, codes.NotFound, "ATTENDANCE_NOT_FOUND")
	})
}

// Whatever fails between the hops, before or after it took effect: the words are stored once and delivered once, in their place.
func TestRepliesThroughFailures(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual))
		c := r.create()
		r.hand(7, "api_channel", c.GetId(), "ana")
		r.failReplies(func(n int) (error, bool) {
			switch n {
			case 1:
				return rpcerr.Unavailable(nil).GRPCStatus().Err(), false
			case 2:
				return rpcerr.Unavailable(nil).GRPCStatus().Err(), true
			}
			return nil, false
		})
		r.send(c, "ana", "um")
		r.reply(t.Context(), 7, "Sou a Bia.")
		r.send(c, "ana", "dois")
		r.start()
		r.pump(manual, 20*time.Millisecond, func() bool { b := r.backlog(); return b.Messages+b.Deliveries == 0 }, "all done")
		runs := r.runs()
		require.Len(t, runs, 3)
		for _, run := range runs {
			require.True(t, proto.Equal(runs[0], run), "the same words under the same id")
		}
		got := r.receiver.await(t, 3)
		require.Len(t, got, 3)
		for i, want := range []string{"echo: um", "Sou a Bia.", "echo: dois"} {
			require.Contains(t, got[i].body, `"text":"`+want+`"`)
		}
	})
}

// Of a person who was erased meanwhile nothing stays, and nobody is held up.
func TestReplyToAnErasedAttendance(t *testing.T) {
	onEach(t, replyToAnErasedAttendance)
}

func replyToAnErasedAttendance(t *testing.T, db *sqldb.DB) {
	manual := clock.NewManual(noon)
	r := newRig(t, db, withClock(manual))
	c := r.create()
	r.hand(7, "api_channel", c.GetId(), "ana")
	r.failReplies(func(int) (error, bool) {
		return rpcerr.New(codes.NotFound, contactsv1.ErrorReason_ERROR_REASON_ATTENDANCE_NOT_FOUND, "gone").GRPCStatus().Err(), false
	})
	r.reply(t.Context(), 7, "Sou a Bia.")
	r.send(c, "ana", "oi")
	r.start()
	r.pump(manual, 20*time.Millisecond, func() bool { b := r.backlog(); return b.Messages+b.Deliveries == 0 }, "all done")
	require.Len(t, r.runs(), 1)
	require.Len(t, r.bodies(c, "ana"), 1)
	left, err := r.store.Messages(t.Context(), store.ThreadKey{Instance: "acme", ChannelID: c.GetId(), ClientIdentifier: "ana"}, 0, 10)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "oi", left[0].Text)
}

package channel_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// callingBot makes an integration whose callback is the rig's receiver.
func (r *rig) callingBot(change ...func(*channelv1.BotApi)) *channelv1.BotApi {
	r.t.Helper()
	b := r.createBot(append([]func(*channelv1.BotApi){func(b *channelv1.BotApi) { b.CallbackUrl = r.receiver.URL + "/back" }}, change...)...)
	secret, err := webhook.ParseSecret(b.GetSigningSecret())
	require.NoError(r.t, err)
	r.receiver.trust(secret)
	return b
}

func toBot(b *channelv1.BotApi, person, text string) *channelv1.ReceiveBotMessageRequest {
	request := &channelv1.ReceiveBotMessageRequest{Slug: "acme", Id: b.GetId(), Identifier: person}
	if text != "" {
		request.Input = &channelv1.BotInput{Text: text}
	}
	return request
}

func sentContext(t testing.TB, json string) *structpb.Struct {
	t.Helper()
	s := &structpb.Struct{}
	require.NoError(t, s.UnmarshalJSON([]byte(json)))
	return s
}

// tell sends a message with the integration's token.
func (r *rig) tell(b *channelv1.BotApi, request *channelv1.ReceiveBotMessageRequest, headers ...string) (*channelv1.ReceiveBotMessageResponse, error) {
	return r.bots.ReceiveBotMessage(keyed(append(headers, "authorization", b.GetToken())...), request)
}

func TestBotAPITurnIsOneSignedCallback(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		b := r.callingBot(func(b *channelv1.BotApi) { b.IncludeContext = true })
		var mu sync.Mutex
		var asked []*agentv1.RunTurnRequest
		r.agent.set(func(turn *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, turn)
			return []*messagev1.Message{text("um"), text("dois")}, nil
		})
		first := toBot(b, "ana", "index0")
		first.Context = sentContext(t, `{"a":{"b":[1,null]},"n":1.5}`)
		answer, err := r.tell(b, first)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(&channelv1.ReceiveBotMessageResponse{Code: 200, Message: "Message sent.", MessageId: answer.GetMessageId()}), answer.String())
		require.Len(t, answer.GetMessageId(), 24)
		_, err = r.tell(b, toBot(b, "ana", ""))
		require.NoError(t, err)

		got := r.receiver.await(t, 2)
		r.drained()
		require.Equal(t, `{"identifier":"ana","output":[{"type":"text","text":"um"},{"type":"text","text":"dois"}],"context":{"a":{"b":[1,null]},"n":1.5}}`, got[0].body)
		require.Equal(t, `{"identifier":"ana","output":[{"type":"text","text":"um"},{"type":"text","text":"dois"}],"context":{}}`, got[1].body)
		for i, h := range got {
			require.NoError(t, h.bad, "signed")
			require.Equal(t, "/back", h.path)
			require.Equal(t, callbackToken, h.header.Get("Authorization"))
			require.Equal(t, fmt.Sprint(i+1), h.header.Get("Prosa-Sequence"))
			require.Equal(t, "application/json", h.header.Get("Content-Type"))
		}
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, asked, 2)
		require.Equal(t, "api", asked[0].GetSource())
		require.Equal(t, b.GetId(), asked[0].GetEndpointId())
		require.Equal(t, "index0", asked[0].GetText())
		require.Equal(t, "index0", asked[0].GetPostback(), "an option's value picks it")
		require.False(t, asked[0].GetNoInput())
		require.True(t, proto.Equal(first.GetContext(), asked[0].GetContext()))
		require.True(t, asked[0].GetReturnContext())
		require.True(t, asked[1].GetNoInput())
		require.Empty(t, asked[1].GetText()+asked[1].GetPostback())
		require.Nil(t, asked[1].GetContext())
	})
}

func TestBotAPICallsNobodyWithoutACallback(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	silent := r.createBot(func(b *channelv1.BotApi) { b.CallbackUrl, b.CallbackToken = "", "" })
	waited := r.callingBot(func(b *channelv1.BotApi) { b.Version = channelv1.BotApi_V1 })
	mute := r.callingBot()
	r.agent.set(func(turn *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
		if turn.GetEndpointId() == mute.GetId() {
			return nil, nil
		}
		return []*messagev1.Message{text("oi")}, nil
	})
	for _, b := range []*channelv1.BotApi{silent, waited, mute} {
		_, err := r.tell(b, toBot(b, "ana", "oi"))
		require.NoError(t, err)
	}
	r.eventually(func() bool { return r.agent.count("oi") == 3 }, "all were answered")
	r.drained()
	require.Zero(t, r.receiver.count())
}

func TestBotAPIRefusals(t *testing.T) {
	r := newRig(t, onSQLite(t))
	b, other := r.createBot(), r.createBot()
	c := r.create()
	deep := sentContext(t, strings.Repeat(`{"a":`, 32)+`1`+strings.Repeat(`}`, 32))
	for name, test := range map[string]struct {
		token   string
		change  func(*channelv1.ReceiveBotMessageRequest)
		code    codes.Code
		reason  string
		invalid []string
	}{
		"no token":               {"", nil, codes.Unauthenticated, "BOT_API_TOKEN_INVALID", nil},
		"wrong token":            {b.GetToken() + "x", nil, codes.Unauthenticated, "BOT_API_TOKEN_INVALID", nil},
		"another's token":        {other.GetToken(), nil, codes.Unauthenticated, "BOT_API_TOKEN_INVALID", nil},
		"another scheme":         {"Basic " + b.GetToken(), nil, codes.Unauthenticated, "BOT_API_TOKEN_INVALID", nil},
		"no such integration":    {b.GetToken(), func(r *channelv1.ReceiveBotMessageRequest) { r.Id = "64a1b2c3d4e5f6a7b8c9d0e1" }, codes.NotFound, "BOT_API_NOT_FOUND", nil},
		"no id":                  {b.GetToken(), func(r *channelv1.ReceiveBotMessageRequest) { r.Id = "../x" }, codes.NotFound, "BOT_API_NOT_FOUND", nil},
		"a channel":              {b.GetToken(), func(r *channelv1.ReceiveBotMessageRequest) { r.Id = c.GetId() }, codes.NotFound, "BOT_API_NOT_FOUND", nil},
		"no such instance":       {b.GetToken(), func(r *channelv1.ReceiveBotMessageRequest) { r.Slug = "nobody" }, codes.NotFound, "BOT_API_NOT_FOUND", nil},
		"another instance":       {b.GetToken(), func(r *channelv1.ReceiveBotMessageRequest) { r.Slug = "other" }, codes.NotFound, "BOT_API_NOT_FOUND", nil},
		"context one past limit": {b.GetToken(), func(r *channelv1.ReceiveBotMessageRequest) { r.Context = sized(64<<10 + 1) }, codes.InvalidArgument, "REQUEST_INVALID", []string{"context"}},
		"context one too deep":   {b.GetToken(), func(r *channelv1.ReceiveBotMessageRequest) { r.Context = deep }, codes.InvalidArgument, "REQUEST_INVALID", []string{"context"}},
	} {
		t.Run(name, func(t *testing.T) {
			request := toBot(b, "ana", "oi")
			if test.change != nil {
				test.change(request)
			}
			ctx := t.Context()
			if test.token != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", test.token)
			}
			_, err := r.bots.ReceiveBotMessage(ctx, request)
			requireError(t, err, test.code, test.reason)
			require.Equal(t, test.invalid, fields(err))
		})
	}
	require.Zero(t, r.backlog().Messages)
	for _, change := range []func(*channelv1.ReceiveBotMessageRequest){
		func(r *channelv1.ReceiveBotMessageRequest) { r.Context = sized(64 << 10) },
		func(r *channelv1.ReceiveBotMessageRequest) { r.Context = deep.GetFields()["a"].GetStructValue() },
		func(r *channelv1.ReceiveBotMessageRequest) { r.Id = strings.ToUpper(r.GetId()) },
	} {
		request := toBot(b, "ana", "oi")
		change(request)
		_, err := r.tell(b, request)
		require.NoError(t, err)
	}
	for _, scheme := range []string{"Bearer ", "bearer "} {
		_, err := r.bots.ReceiveBotMessage(keyed("authorization", scheme+b.GetToken()), toBot(b, "ana", "oi"))
		require.NoError(t, err, "tolerated")
	}
	require.EqualValues(t, 5, r.backlog().Messages)

	_, err := r.botAPIs.RotateBotApiToken(t.Context(), &channelv1.RotateBotApiTokenRequest{Instance: "acme", Id: b.GetId()})
	require.NoError(t, err)
	_, err = r.tell(b, toBot(b, "ana", "oi"))
	requireError(t, err, codes.Unauthenticated, "BOT_API_TOKEN_INVALID")
	_, err = r.botAPIs.DeleteBotApi(t.Context(), &channelv1.DeleteBotApiRequest{Instance: "acme", Id: b.GetId()})
	require.NoError(t, err)
	_, err = r.tell(b, toBot(b, "ana", "oi"))
	requireError(t, err, codes.NotFound, "BOT_API_NOT_FOUND")
}

// sized is a context of so many bytes of JSON.
func sized(bytes int) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStringValue(strings.Repeat("x", bytes-len(`{"a":""}`)))}}
}

func TestBotAPIKeysTakeEffectOnce(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		b := r.callingBot()
		request := func(json string) *channelv1.ReceiveBotMessageRequest {
			made := toBot(b, "ana", "oi")
			made.Context = sentContext(t, json)
			return made
		}
		first, err := r.tell(b, request(`{"a":1,"b":2}`), "idempotency-key", "k")
		require.NoError(t, err)
		again, err := r.tell(b, request(`{"b":2,"a":1}`), "idempotency-key", "k")
		require.NoError(t, err)
		require.True(t, proto.Equal(first, again))
		for _, changed := range []*channelv1.ReceiveBotMessageRequest{request(`{"a":1}`), toBot(b, "ana", "oi"), toBot(b, "ana", "")} {
			_, err = r.tell(b, changed, "idempotency-key", "k")
			requireError(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
		}
		r.receiver.await(t, 1)
		r.drained()
		require.Equal(t, 1, r.receiver.count())
	})
}

func TestBotAPIVersion1CarriesTheAnswer(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db).start()
		b := r.createBot(func(b *channelv1.BotApi) {
			b.Version, b.IncludeContext, b.CallbackUrl, b.CallbackToken = channelv1.BotApi_V1, true, "", ""
		})
		request := toBot(b, "ana", "oi")
		request.Context = sentContext(t, `{"a":1}`)
		first, err := r.tell(b, request, "idempotency-key", "k")
		require.NoError(t, err)
		words := "echo: oi"
		require.True(t, proto.Equal(&channelv1.BotAnswer{
			Identifier: "ana", Output: []*channelv1.BotOutput{{Type: "text", Text: &words}}, Context: request.GetContext(),
		}, first.GetAnswer()), first.GetAnswer().String())
		again, err := r.tell(b, request, "idempotency-key", "k")
		require.NoError(t, err)
		require.True(t, proto.Equal(first, again), "a repetition gets the first answer")
		require.Equal(t, []string{"oi"}, r.agent.texts("ana"))

		// What another process answered is found in the store.
		group := sync.WaitGroup{}
		for i := range 20 {
			group.Go(func() {
				answer, err := r.tell(b, toBot(b, "bia", fmt.Sprint(i)))
				if err != nil || answer.GetAnswer().GetOutput()[0].GetText() != fmt.Sprintf("echo: %d", i) {
					t.Errorf("message %d: %v %v", i, answer, err)
				}
			})
		}
		group.Wait()
		require.Zero(t, r.agent.overlaps, "one turn at a time")
	})
}

func TestBotAPIVersion1FindsWhatAnotherProcessAnswered(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(channel.Config{Poll: 20 * time.Millisecond, TurnsOff: true}))
		b := r.createBot(func(b *channelv1.BotApi) { b.Version = channelv1.BotApi_V1 })
		got := make(chan *channelv1.ReceiveBotMessageResponse)
		go func() {
			answer, err := r.tell(b, toBot(b, "ana", "oi"))
			if err != nil {
				t.Error(err)
			}
			got <- answer
		}()
		r.eventually(func() bool { return r.backlog().Messages == 1 }, "the message is stored")
		elsewhere := *r
		elsewhere.config.TurnsOff = false
		elsewhere.build()
		elsewhere.start()
		require.Equal(t, "echo: oi", (<-got).GetAnswer().GetOutput()[0].GetText())
	})
}

func TestBotAPIVersion1EndsInTime(t *testing.T) {
	r := newRig(t, onSQLite(t), withConfig(channel.Config{Poll: 20 * time.Millisecond, AnswerTimeout: 50 * time.Millisecond})).start()
	b := r.createBot(func(b *channelv1.BotApi) { b.Version = channelv1.BotApi_V1 })
	release := make(chan struct{})
	r.agent.set(func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
		<-release
		return []*messagev1.Message{text("tarde")}, nil
	})
	_, err := r.tell(b, toBot(b, "ana", "oi"), "idempotency-key", "k")
	requireError(t, err, codes.DeadlineExceeded, "ANSWER_LATE")
	ctx, leave := context.WithCancel(keyed("authorization", b.GetToken()))
	leave()
	_, err = r.bots.ReceiveBotMessage(ctx, toBot(b, "bia", "oi"))
	require.Error(t, err)
	close(release)
	r.drained()
	require.Equal(t, []string{"oi"}, r.agent.texts("ana"), "the turn goes on")
	answer, err := r.tell(b, toBot(b, "ana", "oi"), "idempotency-key", "k")
	require.NoError(t, err)
	require.Equal(t, "tarde", answer.GetAnswer().GetOutput()[0].GetText())
}

func TestBotAPIVersion1SaysWhenThereIsNoAnswer(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	b := r.createBot(func(b *channelv1.BotApi) { b.Version = channelv1.BotApi_V1 })
	r.agent.set(func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
		return nil, status.Error(codes.InvalidArgument, "no")
	})
	_, err := r.tell(b, toBot(b, "ana", "oi"))
	requireError(t, err, codes.Internal, "ANSWER_FAILED")
	require.Equal(t, 3, r.agent.count("oi"))

	waiting := make(chan error)
	r.agent.set(func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
		return nil, status.Error(codes.Unavailable, "away")
	})
	go func() {
		_, err := r.tell(b, toBot(b, "bia", "oi"))
		waiting <- err
	}()
	r.eventually(func() bool { return r.backlog().Messages == 1 }, "the message is stored")
	_, err = r.botAPIs.DeleteBotApi(t.Context(), &channelv1.DeleteBotApiRequest{Instance: "acme", Id: b.GetId()})
	require.NoError(t, err)
	requireError(t, <-waiting, codes.NotFound, "BOT_API_NOT_FOUND")
	require.Empty(t, r.agent.texts("bia"))
}

func TestAPausedBotAPIKeepsItsQueue(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(anHour(t))).start()
		b := r.callingBot()
		_, err := r.botAPIs.PauseBotApi(t.Context(), &channelv1.PauseBotApiRequest{Instance: "acme", Id: b.GetId()})
		require.NoError(t, err)
		for _, words := range []string{"1", "2"} {
			_, err := r.tell(b, toBot(b, "ana", words))
			require.NoError(t, err)
		}
		r.eventually(func() bool { return r.backlog().Deliveries == 2 }, "answers wait")
		require.Zero(t, r.receiver.count())
		_, err = r.botAPIs.ResumeBotApi(t.Context(), &channelv1.ResumeBotApiRequest{Instance: "acme", Id: b.GetId()})
		require.NoError(t, err)
		r.receiver.await(t, 2)
		r.drained()

		// A callback that is gone disables it; another one brings it back.
		r.receiver.answer(func(_ int, h hook, w http.ResponseWriter) {
			if h.path == "/back" {
				w.WriteHeader(http.StatusGone)
				return
			}
			w.WriteHeader(http.StatusNoContent) // any 2xx acknowledges
		})
		_, err = r.tell(b, toBot(b, "ana", "3"))
		require.NoError(t, err)
		r.eventually(func() bool { return r.getBot(b).GetState() == channelv1.BotApi_DISABLED }, "disabled")
		require.Equal(t, "the callback answered 410 Gone", r.getBot(b).GetStateReason())
		changed, err := r.botAPIs.UpdateBotApi(t.Context(), &channelv1.UpdateBotApiRequest{
			Instance: "acme", Id: b.GetId(), BotApi: &channelv1.BotApi{CallbackUrl: r.receiver.URL + "/moved"},
		})
		require.NoError(t, err)
		require.Equal(t, channelv1.BotApi_ACTIVE, changed.GetBotApi().GetState())
		r.drained()
		all, err := r.store.Deliveries(t.Context(), store.LaneKey{Instance: "acme", EndpointID: b.GetId(), InteractionID: interactionOf("ana")}, 0, 10)
		require.NoError(t, err)
		require.Len(t, all, 3)
		require.Equal(t, store.Delivered, all[2].State)

		// Without a callback answers wait; what is queued is sent when there is one.
		_, err = r.botAPIs.PauseBotApi(t.Context(), &channelv1.PauseBotApiRequest{Instance: "acme", Id: b.GetId()})
		require.NoError(t, err)
		_, err = r.tell(b, toBot(b, "ana", "4"))
		require.NoError(t, err)
		r.eventually(func() bool { return r.backlog().Deliveries == 1 }, "the answer waits")
		_, err = r.botAPIs.UpdateBotApi(t.Context(), &channelv1.UpdateBotApiRequest{
			Instance: "acme", Id: b.GetId(), BotApi: &channelv1.BotApi{}, UpdateMask: mask("callback_url", "callback_token"),
		})
		require.NoError(t, err)
		_, err = r.botAPIs.ResumeBotApi(t.Context(), &channelv1.ResumeBotApiRequest{Instance: "acme", Id: b.GetId()})
		require.NoError(t, err)
		require.EqualValues(t, 1, r.backlog().Deliveries)
		_, err = r.botAPIs.UpdateBotApi(t.Context(), &channelv1.UpdateBotApiRequest{
			Instance: "acme", Id: b.GetId(), BotApi: &channelv1.BotApi{CallbackUrl: r.receiver.URL + "/third", CallbackToken: "novo"},
		})
		require.NoError(t, err)
		r.drained()
		got := r.receiver.await(t, 5)
		last := got[len(got)-1]
		require.Equal(t, "/third", last.path)
		require.Equal(t, "novo", last.header.Get("Authorization"))
	})
}

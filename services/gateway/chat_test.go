package gateway

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// chats is an agent service that chats as a test says.
type chats struct {
	agentv1.UnimplementedChatServiceServer
	stream   func(ctx context.Context, send func(*agentv1.ChatEvent) error) error
	complete func(ctx context.Context) (*agentv1.CompleteChatResponse, error)
	stopped  string
	asked    chan any
	metadata chan metadata.MD
}

func (c *chats) note(ctx context.Context, request any) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.asked <- request
	c.metadata <- md
}

func (c *chats) StreamChat(r *agentv1.StreamChatRequest, s grpc.ServerStreamingServer[agentv1.StreamChatResponse]) error {
	c.note(s.Context(), r)
	_ = s.SetHeader(metadata.Pairs("ratelimit", `"second";r=1`, "inner", "x"))
	return c.stream(s.Context(), func(e *agentv1.ChatEvent) error { return s.Send(&agentv1.StreamChatResponse{Event: e}) })
}

func (c *chats) ResumeChat(r *agentv1.ResumeChatRequest, s grpc.ServerStreamingServer[agentv1.ResumeChatResponse]) error {
	c.note(s.Context(), r)
	return c.stream(s.Context(), func(e *agentv1.ChatEvent) error { return s.Send(&agentv1.ResumeChatResponse{Event: e}) })
}

func (c *chats) CompleteChat(ctx context.Context, r *agentv1.CompleteChatRequest) (*agentv1.CompleteChatResponse, error) {
	c.note(ctx, r)
	return c.complete(ctx)
}

func (c *chats) StopChat(ctx context.Context, r *agentv1.StopChatRequest) (*agentv1.StopChatResponse, error) {
	c.note(ctx, r)
	return &agentv1.StopChatResponse{Id: c.stopped}, nil
}

func newChats(t *testing.T, change ...func(*Deps)) (*harness, *chats) {
	c := &chats{asked: make(chan any, 100), metadata: make(chan metadata.MD, 100)}
	channel := &inprocgrpc.Channel{}
	agentv1.RegisterChatServiceServer(channel, c)
	return newHarness(t, Config{}, append(change, func(d *Deps) { d.Agent = channel })...), c
}

var chatMade = timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 7_000_000, time.UTC))

func begun() *agentv1.ChatEvent {
	return &agentv1.ChatEvent{Id: "0-0", Event: &agentv1.ChatEvent_Begun{Begun: &agentv1.ChatBegun{Id: "m1"}}}
}

func tokenEvent(id, text string) *agentv1.ChatEvent {
	return &agentv1.ChatEvent{Id: id, Event: &agentv1.ChatEvent_Token{Token: &agentv1.ChatToken{Text: text}}}
}

func textMessage(text string) *messagev1.Message {
	return &messagev1.Message{CreateTime: chatMade, Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}}}
}

func doneEvent(interrupted bool, messages ...*messagev1.Message) *agentv1.ChatEvent {
	return &agentv1.ChatEvent{Id: "9-0", Event: &agentv1.ChatEvent_Done{Done: &agentv1.ChatDone{Id: "m1", Messages: messages, Interrupted: interrupted}}}
}

// says streams events, and then ends with err.
func says(err error, events ...*agentv1.ChatEvent) func(context.Context, func(*agentv1.ChatEvent) error) error {
	return func(_ context.Context, send func(*agentv1.ChatEvent) error) error {
		for _, e := range append([]*agentv1.ChatEvent{begun()}, events...) {
			if err := send(e); err != nil {
				return err
			}
		}
		return err
	}
}

const (
	chatPath  = "/conversation/stream/64a1b2c3d4e5f6a7b8c9d0e1"
	chatText  = `{"text":"olá"}`
	chatSSE   = "Accept: application/json;q=0.1, text/event-stream"
	oneShown  = `{"type":"text","text":"um \"dois\"\n","origin":"bot","createdAt":"2026-03-01T12:00:00.007Z"}`
	chatSeven = `id: 7-0` + "\nevent: token\ndata: "
)

func TestChatStreamsPlainText(t *testing.T) {
	h, c := newChats(t)
	c.stream = says(nil, tokenEvent("3-0", "um "), tokenEvent("7-0", "\"dois\"\n"),
		&agentv1.ChatEvent{Id: "8-0", Event: &agentv1.ChatEvent_Message{Message: textMessage("um \"dois\"\n")}}, doneEvent(false))
	got := h.do(t, "POST", chatPath, chatText, conversationKey, "Idempotency-Key: k", "X-Request-Id: r1", "Grpc-Metadata-Role: root")
	require.Equal(t, 200, got.status)
	require.Equal(t, "um \"dois\"\n", got.body)
	for name, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
		"Prosa-Message-Id": "m1", "X-Request-Id": "r1", "X-Content-Type-Options": "nosniff", "Content-Length": "", "Inner": "",
	} {
		require.Equal(t, want, got.header.Get(name), name)
	}
	require.Equal(t, `"second";r=1`, got.header.Get("RateLimit"))
	request := (<-c.asked).(*agentv1.StreamChatRequest)
	require.Equal(t, "64a1b2c3d4e5f6a7b8c9d0e1", request.GetIdConversation())
	require.Equal(t, "olá", request.GetText())
	md := <-c.metadata
	require.Equal(t, []string{"k"}, md.Get("idempotency-key"))
	require.Equal(t, []string{"r1"}, md.Get("x-request-id"))
	require.Equal(t, []string{"Bearer " + manageKey}, md.Get("authorization"))
	require.Empty(t, md.Get("role"))
	require.InDelta(t, 1, h.counted(t, "conversation", "200"), 0)

	c.stream = says(nil, doneEvent(false))
	require.Empty(t, h.do(t, "POST", chatPath, chatText, conversationKey).body, "people have the conversation")
}

func TestChatStreamsEvents(t *testing.T) {
	h, c := newChats(t)
	c.stream = says(nil, tokenEvent("7-0", "um \"dois\"\n"),
		&agentv1.ChatEvent{Id: "8-0", Event: &agentv1.ChatEvent_Message{Message: textMessage("um \"dois\"\n")}},
		doneEvent(true, textMessage("um \"dois\"\n")))
	const want = chatSeven + `{"text":"um \"dois\"\n"}` + "\n\nid: 8-0\nevent: message\ndata: " + oneShown + "\n\n" +
		"id: 9-0\nevent: done\ndata: " + `{"id":"m1","sendMensages":[` + oneShown + `],"interrupted":true}` + "\n\n"
	got := h.do(t, "POST", chatPath, chatText, conversationKey, chatSSE)
	require.Equal(t, "text/event-stream", got.header.Get("Content-Type"))
	require.Equal(t, want, got.body)
	<-c.asked

	got = h.do(t, "GET", chatPath+"/64a1b2c3d4e5f6a7b8c9d0f1", "", conversationKey, "Last-Event-ID: 3-0")
	require.Equal(t, 200, got.status)
	require.Equal(t, "text/event-stream", got.header.Get("Content-Type"))
	require.Equal(t, want, got.body)
	request := (<-c.asked).(*agentv1.ResumeChatRequest)
	require.Equal(t, "64a1b2c3d4e5f6a7b8c9d0f1", request.GetIdmessage())
	require.Equal(t, "3-0", request.GetLastEvent())

	c.stream = says(nil)
	got = h.do(t, "GET", chatPath+"/m1", "", conversationKey, "Last-Event-ID: 9-0")
	require.Equal(t, 200, got.status)
	require.Empty(t, got.body, "there is nothing behind the end")
}

// What fails in the middle is cut off, and what fails before is a problem.
func TestChatThatFails(t *testing.T) {
	h, c := newChats(t)
	broken := rpcerr.New(codes.Unavailable, agentv1.ErrorReason_ERROR_REASON_ANSWER_INTERRUPTED, "the answer broke off").GRPCStatus().Err()
	for name, stream := range map[string]func(context.Context, func(*agentv1.ChatEvent) error) error{
		"failed": says(broken, tokenEvent("7-0", "um ")), "ended without its end": says(nil, tokenEvent("7-0", "um ")), "nothing at all": says(broken),
	} {
		t.Run(name, func(t *testing.T) {
			c.stream = stream
			for _, accept := range []string{"Accept: */*", chatSSE} {
				request, err := http.NewRequest(http.MethodPost, "http://"+h.address+chatPath, strings.NewReader(chatText))
				require.NoError(t, err)
				request.Header.Set("Content-Type", "application/json")
				request.Header.Set("Authorization", "Bearer "+manageKey)
				request.Header.Set("Accept", strings.TrimPrefix(accept, "Accept: "))
				response, err := h.client.Do(request)
				require.NoError(t, err)
				require.Equal(t, 200, response.StatusCode)
				content, err := io.ReadAll(response.Body)
				require.ErrorIs(t, err, io.ErrUnexpectedEOF, "the connection is cut")
				require.NoError(t, response.Body.Close())
				if accept == chatSSE {
					require.Contains(t, string(content), "\nevent: error\ndata: {\"type\":\"https://httpproblems.com/http-status/")
					require.True(t, strings.HasSuffix(string(content), "}\n\n"))
				}
			}
		})
	}
	c.stream = func(context.Context, func(*agentv1.ChatEvent) error) error {
		return rpcerr.New(codes.ResourceExhausted, agentv1.ErrorReason_ERROR_REASON_CHAT_QUEUE_FULL, "too many", "limit", "10").
			WithRetryAfter(time.Second).GRPCStatus().Err()
	}
	for _, accept := range []string{"Accept: */*", chatSSE} {
		got := h.do(t, "POST", chatPath, chatText, conversationKey, accept)
		require.Equal(t, 429, got.status)
		require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
		require.Equal(t, "1", got.header.Get("Retry-After"))
		require.Contains(t, got.body, `"reason":"CHAT_QUEUE_FULL"`)
		require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	}
}

func TestChatRefusesBadRequests(t *testing.T) {
	h, c := newChats(t)
	for name, test := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		names              []string
	}{
		"no credential":      {"POST", chatPath, chatText, nil, 401, nil},
		"no JSON":            {"POST", chatPath, chatText, []string{conversationKey, "Content-Type: text/plain"}, 415, nil},
		"not whole":          {"POST", chatPath, `{"text":`, []string{conversationKey}, 400, []string{}},
		"text of a bad type": {"POST", chatPath, `{"text":5}`, []string{conversationKey}, 400, []string{"text"}},
		"bad key":            {"POST", chatPath, chatText, []string{conversationKey, "Idempotency-Key: " + strings.Repeat("k", 256)}, 400, []string{"Idempotency-Key"}},
		"too large":          {"POST", chatPath, `{"text":"` + strings.Repeat("a", MaxBody) + `"}`, []string{conversationKey}, 413, nil},
		"another method":     {"PUT", chatPath, chatText, []string{conversationKey}, 405, nil},
		"post on a message":  {"POST", chatPath + "/m1", chatText, []string{conversationKey}, 405, nil},
		"nobody":             {"POST", "/conversation/stream/", chatText, []string{conversationKey}, 404, nil},
		"too deep":           {"GET", chatPath + "/m1/x", "", []string{conversationKey}, 404, nil},
		"long place":         {"GET", chatPath + "/m1", "", []string{conversationKey, "Last-Event-ID: " + strings.Repeat("1", 65)}, 400, []string{"Last-Event-ID"}},
		"two places":         {"GET", chatPath + "/m1", "", []string{conversationKey, "Last-Event-ID: 1", "Last-Event-ID: 2"}, 400, []string{"Last-Event-ID"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.do(t, test.method, test.path, test.body, test.headers...)
			require.Equal(t, test.status, got.status, got.body)
			require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
			if test.names != nil {
				require.Equal(t, test.names, got.names(t))
			}
			require.Empty(t, c.asked)
		})
	}
}

// A block arrives when it is made, and a silent stream of events says now and then that it lives.
func TestChatBlocksArriveAtOnce(t *testing.T) {
	manual := clock.NewManual(started)
	h, c := newChats(t, func(d *Deps) { d.Clock = manual })
	for _, accept := range []string{"text/plain", "text/event-stream"} {
		next := make(chan *agentv1.ChatEvent)
		c.stream = func(_ context.Context, send func(*agentv1.ChatEvent) error) error {
			for e := range next {
				if err := send(e); err != nil {
					return err
				}
			}
			return nil
		}
		request, err := http.NewRequest(http.MethodPost, "http://"+h.address+chatPath, strings.NewReader(chatText))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+manageKey)
		request.Header.Set("Accept", accept)
		go func() { next <- begun() }()
		response, err := h.client.Do(request) // the header is here before any block
		require.NoError(t, err)
		lines := bufio.NewReader(response.Body)
		next <- tokenEvent("7-0", "um\n")
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		if accept == "text/plain" {
			require.Equal(t, "um\n", line)
		} else {
			require.Equal(t, "id: 7-0\n", line)
			for range 3 {
				_, err = lines.ReadString('\n')
				require.NoError(t, err)
			}
			manual.AwaitTimers(1)
			manual.Advance(commentInterval)
			line, err = lines.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, ": keep-alive\n", line)
		}
		next <- doneEvent(false)
		close(next)
		_, err = io.ReadAll(lines)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
}

// The service learns that a caller went away, which stops the call and nothing else; so it does when the caller stops reading.
func TestChatWithoutItsCaller(t *testing.T) {
	h, c := newChats(t)
	ended := make(chan error, 1)
	c.stream = func(ctx context.Context, send func(*agentv1.ChatEvent) error) error {
		_ = send(begun())
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	for _, accept := range []string{"text/plain", "text/event-stream"} {
		ctx, leave := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.address+chatPath, strings.NewReader(chatText))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+manageKey)
		request.Header.Set("Accept", accept)
		response, err := h.client.Do(request)
		require.NoError(t, err)
		leave()
		require.ErrorIs(t, <-ended, context.Canceled)
		_ = response.Body.Close()
	}
	require.Eventually(t, func() bool { return h.counted(t, "conversation", "499") == 2 }, 5*time.Second, time.Millisecond)
}

func TestWholeAnswersAndStops(t *testing.T) {
	h, c := newChats(t)
	c.complete = func(ctx context.Context) (*agentv1.CompleteChatResponse, error) {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		left := time.Until(deadline)
		require.True(t, left > 60*time.Second && left <= 65*time.Second, "%s", left)
		return &agentv1.CompleteChatResponse{Id: "m1", Messages: []*messagev1.Message{textMessage("um \"dois\"\n")}}, nil
	}
	const path = "/conversation/complete/64a1b2c3d4e5f6a7b8c9d0e1"
	got := h.do(t, "POST", path, chatText, conversationKey)
	require.Equal(t, `{"id":"m1","sendMensages":[`+oneShown+`]}`, got.body)
	require.Equal(t, "m1", got.header.Get("Prosa-Message-Id"))
	require.Equal(t, "olá", (<-c.asked).(*agentv1.CompleteChatRequest).GetText())
	c.complete = func(context.Context) (*agentv1.CompleteChatResponse, error) {
		return &agentv1.CompleteChatResponse{Id: "m1", Interrupted: true}, nil
	}
	require.Equal(t, `{"id":"m1","sendMensages":[],"interrupted":true}`, h.do(t, "POST", path, chatText, conversationKey).body)
	c.complete = func(context.Context) (*agentv1.CompleteChatResponse, error) {
		return nil, rpcerr.FromStore(context.DeadlineExceeded)
	}
	require.Equal(t, 504, h.do(t, "POST", path, chatText, conversationKey).status)
	require.Equal(t, 415, h.do(t, "POST", path, chatText, conversationKey, "Content-Type: text/plain").status)

	const stop = "/conversation/stop/64a1b2c3d4e5f6a7b8c9d0e1"
	require.Equal(t, `{"message":"Nenhuma resposta em andamento."}`, h.do(t, "POST", stop, "", conversationKey).body)
	c.stopped = "m1"
	require.Equal(t, `{"id":"m1","message":"Resposta interrompida."}`, h.do(t, "POST", stop, "", conversationKey).body)
}

func TestAcceptsEvents(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/plain": false, "text/event-stream": true, "TEXT/Event-Stream; charset=utf-8": true,
		"text/plain, text/event-stream;q=0.5": true, "text/event-stream;q=0": false, "text/event-stream;q=x": false, ",;": false,
	} {
		require.Equal(t, want, acceptsEvents(http.Header{"Accept": {accept}}), accept)
	}
	require.True(t, acceptsEvents(http.Header{"Accept": {"text/html", "text/event-stream"}}))
}

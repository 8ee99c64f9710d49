package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// conversations is a connection to an agent service that answers as a test says, and keeps the last request.
type conversations struct {
	failing
	answer  proto.Message
	err     error
	request proto.Message
}

func (c *conversations) Invoke(_ context.Context, _ string, request, reply any, _ ...grpc.CallOption) error {
	c.request = request.(proto.Message)
	if c.err != nil {
		return c.err
	}
	proto.Merge(reply.(proto.Message), c.answer)
	return nil
}

func newConversations(t *testing.T) (*harness, *conversations) {
	c := &conversations{}
	return newHarness(t, Config{}, func(d *Deps) { d.Agent = c }), c
}

const conversationKey = "Authorization: Bearer " + manageKey

func TestConversationsHaveTheDocumentedForm(t *testing.T) {
	h, c := newConversations(t)
	at := timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 7_000_000, time.UTC))
	meta, err := structpb.NewStruct(map[string]any{"b": 1, "a": nil})
	require.NoError(t, err)
	conversation := &agentv1.Conversation{
		Id: "64a1", Botname: "Eco \"1\"", Description: "Repete", Channel: "agent", Survey: 5, Meta: meta, CreatedAt: at, UpdatedAt: at, Messages: 2, Identifier: "maria",
	}
	const shown = `{"id":"64a1","botname":"Eco \"1\"","description":"Repete","channel":"agent","survey":5,"meta":{"a":null,"b":1}`

	c.answer = &agentv1.ListConversationsResponse{Total: 30, CurrentPage: 1, TotalPages: 2, Cursor: proto.String("next"), Conversations: []*agentv1.Conversation{conversation, {}}}
	got := h.do(t, "GET", "/conversation?limit=25&currentPage=0&total=&totalPages=x&search=a%20b&meta=c&dateInit=2026-01-01&dateEnd=2026-01-02&unknown=1", "", conversationKey)
	require.Equal(t, 200, got.status)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.Equal(t, `{"total":30,"currentPage":1,"totalPages":2,"cursor":"next","conversations":[`+shown+
		`,"createdAt":"2026-03-01T12:00:00.007Z","updatedAt":"2026-03-01T12:00:00.007Z","messages":2,"identifier":"maria"},`+
		`{"id":"","botname":"","description":"","channel":"","survey":0,"meta":{},"createdAt":"1970-01-01T00:00:00.000Z","updatedAt":"1970-01-01T00:00:00.000Z","messages":0,"identifier":""}]}`, got.body)
	require.True(t, proto.Equal(&agentv1.ListConversationsRequest{
		Limit: proto.Int32(25), TotalPages: "x", Search: "a b", Meta: "c", DateInit: "2026-01-01", DateEnd: "2026-01-02",
	}, c.request), "%v", c.request)
	c.answer = &agentv1.ListConversationsResponse{CurrentPage: 1}
	require.Equal(t, `{"total":0,"currentPage":1,"totalPages":0,"cursor":null,"conversations":[]}`, h.do(t, "GET", "/conversation", "", conversationKey).body)

	c.answer = &agentv1.GetConversationResponse{Conversation: conversation}
	require.Equal(t, shown+"}", h.do(t, "GET", "/conversation/64a1", "", conversationKey).body)

	text := &messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: "oi"}}}
	c.answer = &agentv1.ListMessagesResponse{Messages: []*agentv1.ConversationMessage{
		{Id: "m1", Sender: "user", Message: []*messagev1.Message{text}, CreatedAt: at},
		{Id: "m2", Sender: "bot", Message: []*messagev1.Message{text, text}, CreatedAt: at, Feedback: proto.String("like"), Interrupted: true},
		{Id: "m3", Sender: "user", CreatedAt: at, Postback: "index0"},
	}}
	const said = `{"messages":[{"id":"m1","sender":"user","message":[{"type":"text","text":"oi"}],"createdAt":"2026-03-01T12:00:00.007Z","feedback":null},` +
		`{"id":"m2","sender":"bot","message":[{"type":"text","text":"oi"},{"type":"text","text":"oi"}],"createdAt":"2026-03-01T12:00:00.007Z","feedback":"like","interrupted":true},` +
		`{"id":"m3","sender":"user","message":[],"createdAt":"2026-03-01T12:00:00.007Z","feedback":null,"postback":"index0"}]`
	require.Equal(t, said+"}", h.do(t, "GET", "/conversation/message/64a1", "", conversationKey).body)
	require.Equal(t, said+`,"cursor":null}`, h.do(t, "GET", "/conversation/message/64a1?limit=3", "", conversationKey).body)
	c.answer.(*agentv1.ListMessagesResponse).Cursor = proto.String("more")
	require.Equal(t, said+`,"cursor":"more"}`, h.do(t, "GET", "/conversation/message/64a1", "", conversationKey).body)

	c.answer = &agentv1.CreateConversationResponse{Id: "64a1"}
	require.Equal(t, `{"id":"64a1"}`, h.do(t, "POST", "/conversation/create/b1", "", conversationKey).body)
	require.True(t, proto.Equal(&agentv1.CreateConversationRequest{BotId: "b1"}, c.request))
	require.Equal(t, 200, h.do(t, "POST", "/conversation/create/b1", `{"meta":{"a":null,"b":1},"identifier":"x","other":1}`, conversationKey).status)
	require.True(t, proto.Equal(&agentv1.CreateConversationRequest{BotId: "b1", Meta: meta, Identifier: "x"}, c.request), "%v", c.request)
	c.answer = &agentv1.RateMessageResponse{Message: "ok"}
	require.Equal(t, `{"message":"ok"}`, h.do(t, "POST", "/conversation/message/feedback/m2", `{"feedback":"like"}`, conversationKey).body)
	c.answer = &agentv1.RateConversationResponse{Message: "ok"}
	require.Equal(t, `{"message":"ok"}`, h.do(t, "POST", "/conversation/survey/64a1", `{"survey":"4"}`, conversationKey).body)
	require.True(t, proto.Equal(&agentv1.RateConversationRequest{Idconv: "64a1", Survey: 4}, c.request))
}

func TestUpdatesAreWhateverTheBodyNames(t *testing.T) {
	h, c := newConversations(t)
	c.answer = &agentv1.UpdateConversationResponse{Message: "ok"}
	for body, want := range map[string]map[string]any{
		`{"a":1,"b":{"c":[null,"x",true]},"":null}`: {"a": 1, "b": map[string]any{"c": []any{nil, "x", true}}, "": nil},
		`{"meta":{"a":1,"meta":2}}`:                 {"a": 1, "meta": 2},
		`{"meta":{"a":1},"b":2}`:                    {"meta": map[string]any{"a": 1}, "b": 2},
		`{"meta":[1]}`:                              {"meta": []any{1}},
		`{"meta":{}}`:                               {},
		`{}`:                                        {},
		``:                                          {},
	} {
		got := h.do(t, "PUT", "/conversation/update/64a1", body, conversationKey)
		require.Equal(t, 200, got.status, "%s: %s", body, got.body)
		meta, err := structpb.NewStruct(want)
		require.NoError(t, err)
		require.Equal(t, meta.AsMap(), c.request.(*agentv1.UpdateConversationRequest).GetMeta().AsMap(), body)
		require.Equal(t, "64a1", c.request.(*agentv1.UpdateConversationRequest).GetConvId())
	}
	for body, names := range map[string][]string{
		`{"a":1,"a":2}`: {"a"}, `{"a":{"b":"\u0000"}}`: {"a.b"}, `{"a":1e999}`: {"a"},
	} {
		got := h.do(t, "PUT", "/conversation/update/64a1", body, conversationKey)
		require.Equal(t, 400, got.status, body)
		require.Equal(t, names, got.names(t), body)
	}
	c.err = rpcerr.Invalid(rpcerr.Violation{Field: "meta.x", Reason: "no"}, rpcerr.Violation{Field: "meta", Reason: "no"})
	require.Equal(t, []string{"x", "meta"}, h.do(t, "PUT", "/conversation/update/64a1", `{"x":1}`, conversationKey).names(t))
}

// Every failure on every path is a problem.
func TestConversationFailuresAreProblems(t *testing.T) {
	h, c := newConversations(t)
	fail := func(code codes.Code, reason accountsv1.ErrorReason) error {
		return rpcerr.New(code, reason, "a sentence")
	}
	notFound := rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_CONVERSATION_NOT_FOUND, "no such conversation", "id", "64a1")
	for name, test := range map[string]struct {
		method, path, body string
		headers            []string
		err                error
		status             int
		title, detail      string
	}{
		"no credentials":     {"GET", "/conversation", "", nil, nil, 401, "Unauthorized", "No Authorization Header"},
		"wrong scheme":       {"GET", "/conversation", "", []string{"Authorization: Basic x"}, fail(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_CREDENTIALS_MALFORMED), 401, "Unauthorized", "Invalid Authorization Scheme"},
		"wrong key":          {"GET", "/conversation", "", []string{conversationKey}, fail(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_API_KEY_INVALID), 401, "Unauthorized", "API Key is invalid or does not have access to the API"},
		"key without scope":  {"GET", "/conversation", "", []string{conversationKey}, fail(codes.PermissionDenied, accountsv1.ErrorReason_ERROR_REASON_SCOPE_MISSING), 401, "Unauthorized", "API Key is invalid or does not have access to the API"},
		"too many":           {"GET", "/conversation", "", []string{conversationKey}, fail(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED), 429, "Too Many Requests", "a sentence"},
		"no conversation":    {"GET", "/conversation/64a1", "", []string{conversationKey}, notFound, 404, "Not Found", "no such conversation"},
		"no route":           {"GET", "/conversation/a/b/c/d", "", []string{conversationKey}, nil, 404, "Not Found", "There is nothing at this path"},
		"no id":              {"GET", "/conversation/", "", []string{conversationKey}, nil, 404, "Not Found", "There is nothing at this path"},
		"another method":     {"PATCH", "/conversation/64a1", "", []string{conversationKey}, nil, 405, "Method Not Allowed", "The resource does not have this method"},
		"get for a post":     {"GET", "/conversation/create/b1", "", []string{conversationKey}, nil, 405, "Method Not Allowed", "The resource does not have this method"},
		"another type":       {"POST", "/conversation/survey/64a1", "survey=5", []string{conversationKey, "Content-Type: application/x-www-form-urlencoded"}, nil, 415, "Unsupported Media Type", "The body must be application/json in UTF-8"},
		"no JSON":            {"POST", "/conversation/survey/64a1", `{"survey":`, []string{conversationKey}, nil, 400, "Bad Request", "The body is not valid JSON: it ends too early"},
		"no object":          {"PUT", "/conversation/update/64a1", `[1]`, []string{conversationKey}, nil, 400, "Bad Request", "The body must be a JSON object"},
		"something behind":   {"PUT", "/conversation/update/64a1", `{} {}`, []string{conversationKey}, nil, 400, "Bad Request", "The body has something after the JSON object"},
		"too deep":           {"PUT", "/conversation/update/64a1", strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33), []string{conversationKey}, nil, 400, "Bad Request", "The body is nested deeper than 32 levels"},
		"too large":          {"PUT", "/conversation/update/64a1", `{"a":"` + strings.Repeat("x", MaxBody) + `"}`, []string{conversationKey}, nil, 413, "Request Entity Too Large", "The body is larger than 256 KiB"},
		"too long":           {"GET", "/conversation?search=" + strings.Repeat("x", MaxURL), "", []string{conversationKey}, nil, 414, "Request URI Too Long", "The URL is longer than 2 KiB"},
		"store is away":      {"GET", "/conversation", "", []string{conversationKey}, rpcerr.Unavailable(nil), 503, "Service Unavailable", "The service cannot take the call now, try again later"},
		"something happened": {"GET", "/conversation", "", []string{conversationKey}, rpcerr.Internal(nil), 500, "Internal Server Error", "Something unexpected happened; the log has it under the request id"},
	} {
		t.Run(name, func(t *testing.T) {
			c.err, c.answer = test.err, nil
			got := h.do(t, test.method, test.path, test.body, test.headers...)
			require.Equal(t, test.status, got.status, got.body)
			require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
			path, _, _ := strings.Cut(test.path, "?")
			code := strings.SplitN(got.body, `/http-status/`, 2)[1][:3]
			require.True(t, strings.HasPrefix(got.body, `{"type":"https://httpproblems.com/http-status/`+code+`","title":"`+test.title+`","status":`+code+
				`,"detail":"`+test.detail+`","instance":"`+path+`"`), got.body)
			if test.status == 400 {
				require.Contains(t, got.body, `"invalidParams":[`)
			}
			if test.status == 429 || test.status == 503 {
				require.NotEmpty(t, got.header.Get("Retry-After"))
			}
		})
	}
}

func TestConversationQueriesAreChecked(t *testing.T) {
	h, c := newConversations(t)
	c.answer = &agentv1.ListConversationsResponse{}
	c.err = rpcerr.Invalid(rpcerr.Violation{Field: "limit", Reason: "of the request that cannot be carried out"}, rpcerr.Violation{Field: "cursor", Reason: "is required"})
	got := h.do(t, "GET", "/conversation?limit=abc&currentPage=1.5&search=a&search=b&unknown=1&unknown=2", "", conversationKey)
	require.Equal(t, 400, got.status)
	require.Equal(t, []string{"currentPage", "limit", "search", "cursor"}, got.names(t))
	require.Equal(t, []string{"query"}, h.do(t, "GET", "/conversation?search=%zz", "", conversationKey).names(t)[:1])
}

package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	botPath       = "/loja/api/64a1b2c3d4e5f6a7b8c9d0e1"
	goodBotPost   = `{"input":{"text":"Olá"},"identifier":"user-123","context":{"var1":"value1","var2":{"a":[1,null,true]}}}`
	botToken      = "pbt_0123456789abcdef0123456789abcdef0123456789a"
	botTokenField = "Authorization: " + botToken
)

func TestBotAPIAccepts(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.receiveBot = func(_ context.Context, r *channelv1.ReceiveBotMessageRequest) (*channelv1.ReceiveBotMessageResponse, error) {
		if r.GetSlug() != "loja" || r.GetId() != "64a1b2c3d4e5f6a7b8c9d0e1" || r.GetIdentifier() != "user-123" || r.GetInput().GetText() != "Olá" ||
			r.GetContext().GetFields()["var1"].GetStringValue() != "value1" {
			return nil, errors.New("not what was sent")
		}
		return &channelv1.ReceiveBotMessageResponse{Code: 200, Message: "Message sent.", MessageId: "64a1b2c3d4e5f6a7b8c9d0e9"}, nil
	}
	got := h.do(t, http.MethodPost, botPath, goodBotPost, botTokenField)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Equal(t, `{"code":200,"message":"Message sent."}`, got.body)
	require.Equal(t, "64a1b2c3d4e5f6a7b8c9d0e9", got.header.Get("Prosa-Message-Id"))
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	md, _, _ := h.fakes.seen()
	require.Equal(t, []string{botToken}, md.Get("authorization"), "as it stands")
}

func TestBotAPIWithoutInput(t *testing.T) {
	h := newHarness(t, Config{})
	for _, body := range []string{
		`{"identifier":"p"}`, `{"identifier":"p","input":null}`, `{"identifier":"p","context":null,"unknown":[1]}`, `{"identifier":"p","slug":"other","id":"x"}`,
	} {
		h.fakes.receiveBot = func(_ context.Context, r *channelv1.ReceiveBotMessageRequest) (*channelv1.ReceiveBotMessageResponse, error) {
			if r.GetInput() != nil || r.GetContext() != nil || r.GetSlug() != "loja" {
				return nil, errors.New("not what was sent")
			}
			return &channelv1.ReceiveBotMessageResponse{Code: 200, Message: "Message sent."}, nil
		}
		require.Equal(t, http.StatusOK, h.do(t, http.MethodPost, botPath, body, botTokenField).status, body)
	}
}

func TestBotAPIAnswersOfVersion1(t *testing.T) {
	h := newHarness(t, Config{})
	text, question := "Olá!", "Como posso ajudar?"
	answer := &channelv1.BotAnswer{Identifier: "user-123", Output: []*channelv1.BotOutput{
		{Type: "text", Text: &text},
		{Type: "select", Text: &question, Payload: &channelv1.BotSelect{Pick: question, Options: []*channelv1.BotOption{{Title: "Meu pedido", Value: "index0"}}}},
	}}
	h.fakes.receiveBot = func(context.Context, *channelv1.ReceiveBotMessageRequest) (*channelv1.ReceiveBotMessageResponse, error) {
		return &channelv1.ReceiveBotMessageResponse{Code: 200, Message: "Message sent.", MessageId: "64a1b2c3d4e5f6a7b8c9d0e9", Answer: answer}, nil
	}
	got := h.do(t, http.MethodPost, botPath, goodBotPost, botTokenField)
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, `{"code":200,"message":"Message sent.","identifier":"user-123","output":[{"type":"text","text":"Olá!"},`+
		`{"type":"select","text":"Como posso ajudar?","payload":{"pick":"Como posso ajudar?","options":[{"title":"Meu pedido","value":"index0"}]}}]}`, got.body)

	var err error
	answer.Context, err = structpb.NewStruct(map[string]any{"order_date": "2026-01-15", "n": 2})
	require.NoError(t, err)
	answer.Output = nil
	got = h.do(t, http.MethodPost, botPath, goodBotPost, botTokenField)
	require.Equal(t, `{"code":200,"message":"Message sent.","identifier":"user-123","output":[],"context":{"n":2,"order_date":"2026-01-15"}}`, got.body)
}

func TestBotAPIFailures(t *testing.T) {
	reason := func(code codes.Code, reason channelv1.ErrorReason) *rpcerr.Error {
		return rpcerr.New(code, reason, "a sentence")
	}
	common := func(code codes.Code, reason accountsv1.ErrorReason) *rpcerr.Error {
		return rpcerr.New(code, reason, "a sentence")
	}
	h := newHarness(t, Config{})
	for name, test := range map[string]struct {
		err        error
		status     int
		body       string
		retryAfter string
	}{
		"unknown": {
			err:    reason(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_BOT_API_NOT_FOUND),
			status: 404, body: `{"code":404,"message":"Client not found."}`,
		},
		"token": {
			err:    reason(codes.Unauthenticated, channelv1.ErrorReason_ERROR_REASON_BOT_API_TOKEN_INVALID),
			status: 401, body: `{"code":401,"message":"Unauthorized."}`,
		},
		"late": {
			err:    reason(codes.DeadlineExceeded, channelv1.ErrorReason_ERROR_REASON_ANSWER_LATE),
			status: 504, body: `{"code":504,"message":"Assistant timed out."}`,
		},
		"failed": {
			err:    reason(codes.Internal, channelv1.ErrorReason_ERROR_REASON_ANSWER_FAILED),
			status: 500, body: `{"code":500,"message":"Unexpected Error."}`,
		},
		"key reused": {
			err:    common(codes.AlreadyExists, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED),
			status: 422, body: `{"code":422,"message":"Unprocessable entity."}`,
		},
		"key in flight": {
			err:    common(codes.Aborted, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_IN_FLIGHT),
			status: 409, body: `{"code":409,"message":"Conflict."}`,
		},
		"too many": {
			err:    common(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED).WithRetryAfter(2500 * time.Millisecond),
			status: 429, body: `{"code":429,"message":"Too many requests."}`, retryAfter: "3",
		},
		"unavailable": {
			err:    rpcerr.Unavailable(errors.New("disk full")),
			status: 503, body: `{"code":503,"message":"Unavailable."}`, retryAfter: "1",
		},
		"unexpected": {
			err:    errors.New("pq: relation bot_api does not exist on db.internal:5432"),
			status: 500, body: `{"code":500,"message":"Unexpected Error."}`,
		},
		"context too large": {
			err:    rpcerr.Invalid(rpcerr.Violation{Field: "context", Reason: "is larger than 64 KiB"}),
			status: 400, body: `{"code":400,"message":"Bad request: context"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h.fakes.receiveBot = func(context.Context, *channelv1.ReceiveBotMessageRequest) (*channelv1.ReceiveBotMessageResponse, error) {
				return nil, test.err
			}
			got := h.do(t, http.MethodPost, botPath, goodBotPost, botTokenField)
			require.Equal(t, test.status, got.status)
			require.Equal(t, test.body, got.body)
			require.Equal(t, test.retryAfter, got.header.Get("Retry-After"))
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			require.NotEmpty(t, got.header.Get("X-Request-Id"))
			require.Empty(t, got.header.Get("Prosa-Message-Id"))
		})
	}
}

func TestBotAPINamesTheFirstBadPart(t *testing.T) {
	h := newHarness(t, Config{})
	for name, test := range map[string]struct {
		body    string
		headers []string
		want    string
	}{
		"not JSON":                      {`text=hello`, nil, "body"},
		"broken":                        {`{"identifier":}`, nil, "body"},
		"cut":                           {goodBotPost[:20], nil, "body"},
		"a list":                        {`[` + goodBotPost + `]`, nil, "body"},
		"a text":                        {`"x"`, nil, "body"},
		"null":                          {`null`, nil, "body"},
		"something after":               {goodBotPost + ` {}`, nil, "body"},
		"too deep":                      {`{"identifier":"p","context":` + strings.Repeat(`{"a":`, 32) + `1` + strings.Repeat(`}`, 33), nil, "body"},
		"nothing":                       {`{}`, nil, "identifier"},
		"no body":                       {``, nil, "identifier"},
		"empty identifier":              {`{"identifier":""}`, nil, "identifier"},
		"identifier of another type":    {`{"identifier":5}`, nil, "identifier"},
		"identifier twice":              {`{"identifier":"a","identifier":"b"}`, nil, "identifier"},
		"identifier one past the limit": {`{"identifier":"` + strings.Repeat("é", 257) + `"}`, nil, "identifier"},
		"all bad":                       {`{"context":1,"input":2,"identifier":3}`, nil, "identifier"},
		"input and context bad":         {`{"context":1,"input":2,"identifier":"p"}`, nil, "input"},
		"input of another type":         {`{"input":"Olá","identifier":"p"}`, nil, "input"},
		"input without text":            {`{"input":{},"identifier":"p"}`, nil, "input"},
		"empty text":                    {`{"input":{"text":""},"identifier":"p"}`, nil, "input"},
		"text of another type":          {`{"input":{"text":["Olá"]},"identifier":"p"}`, nil, "input"},
		"text one past the limit":       {`{"input":{"text":"` + strings.Repeat("é", 10_001) + `"},"identifier":"p"}`, nil, "input"},
		"NUL in text":                   {`{"input":{"text":"a\u0000"},"identifier":"p"}`, nil, "input"},
		"context is a list":             {`{"identifier":"p","context":[]}`, nil, "context"},
		"context is a text":             {`{"identifier":"p","context":"{}"}`, nil, "context"},
		"NUL deep in context":           {`{"identifier":"p","context":{"a":[{"b":"\u0000"}]}}`, nil, "context"},
		"name twice in context":         {`{"identifier":"p","context":{"a":1,"a":2}}`, nil, "context"},
		"key":                           {goodBotPost, []string{"Idempotency-Key: é"}, "Idempotency-Key"},
		"key after context":             {`{"identifier":"p","context":5}`, []string{"Idempotency-Key: é"}, "context"},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.do(t, http.MethodPost, botPath, test.body, append(test.headers, botTokenField)...)
			require.Equal(t, http.StatusBadRequest, got.status)
			require.Equal(t, `{"code":400,"message":"Bad request: `+test.want+`"}`, got.body)
		})
	}
	_, _, calls := h.fakes.seen()
	require.Zero(t, calls)
	for _, body := range []string{
		`{"identifier":"` + strings.Repeat("é", 256) + `"}`,
		`{"input":{"text":"` + strings.Repeat("é", 10_000) + `"},"identifier":"p"}`,
		`{"identifier":"p","context":` + strings.Repeat(`{"a":`, 31) + `1` + strings.Repeat(`}`, 32),
	} {
		require.Equal(t, http.StatusOK, h.do(t, http.MethodPost, botPath, body, botTokenField).status)
	}
}

func TestBotAPIOtherRefusals(t *testing.T) {
	h := newHarness(t, Config{})
	for name, test := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		want, allow        string
	}{
		"type":        {"POST", botPath, goodBotPost, []string{"Content-Type: text/plain"}, 415, `{"code":415,"message":"Unsupported media type."}`, ""},
		"compressed":  {"POST", botPath, goodBotPost, []string{"Content-Encoding: gzip"}, 415, `{"code":415,"message":"Unsupported media type."}`, ""},
		"size":        {"POST", botPath, goodBotPost + strings.Repeat(" ", MaxBody), nil, 413, `{"code":413,"message":"Payload too large."}`, ""},
		"GET":         {"GET", botPath, "", nil, 405, `{"code":405,"message":"Method not allowed."}`, "POST"},
		"DELETE":      {"DELETE", botPath, "", nil, 405, `{"code":405,"message":"Method not allowed."}`, "POST"},
		"short path":  {"POST", "/loja/api", goodBotPost, nil, 404, `{"code":404,"message":"Client not found."}`, ""},
		"no id":       {"POST", "/loja/api/", goodBotPost, nil, 404, `{"code":404,"message":"Client not found."}`, ""},
		"longer path": {"POST", botPath + "/more", goodBotPost, nil, 404, `{"code":404,"message":"Client not found."}`, ""},
		"long URL":    {"POST", botPath + strings.Repeat("a", MaxURL), goodBotPost, nil, 414, `{"code":414,"message":"Request URI too long."}`, ""},
		"long header": {"POST", botPath, goodBotPost, []string{"X-Filler: " + strings.Repeat("a", MaxHeader)}, 431, `{"code":431,"message":"Request header fields too large."}`, ""},
		// Paths of other surfaces are not this one, although they look like it.
		"contacts": {"POST", "/contacts/api/x", goodBotPost, nil, 404, `{"contacts":[],"resultCount":0}`, ""},
		"webhooks": {"GET", "/webhooks/api/x", "", nil, 404, `{"status":"error","message":"Not found."}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.do(t, test.method, test.path, test.body, append(test.headers, botTokenField)...)
			require.Equal(t, test.status, got.status, got.body)
			require.Equal(t, test.want, got.body)
			require.Equal(t, test.allow, got.header.Get("Allow"))
		})
	}
	_, _, calls := h.fakes.seen()
	require.Zero(t, calls)
	require.Equal(t, http.StatusOK, h.do(t, "POST", botPath, goodBotPost+strings.Repeat(" ", MaxBody-len(goodBotPost)), botTokenField).status)
}

func TestBotAPIWaitsLongerThanOtherCalls(t *testing.T) {
	h := newHarness(t, Config{Timeout: 10 * time.Second, AnswerTimeout: 20 * time.Second})
	before := time.Now()
	require.Equal(t, http.StatusOK, h.do(t, "POST", botPath, goodBotPost, botTokenField, "Grpc-Timeout: 1S").status)
	_, deadline, _ := h.fakes.seen()
	require.WithinRange(t, deadline, before.Add(29*time.Second), time.Now().Add(30*time.Second))
}

func TestBotAPISecretsAreShownWhereTheyAre(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.createBotAPI = func(_ context.Context, r *channelv1.CreateBotApiRequest) (*channelv1.CreateBotApiResponse, error) {
		made := r.GetBotApi()
		made.CallbackToken, made.Token, made.SigningSecret = "", "pbt_x", "whsec_y"
		made.State = channelv1.BotApi_ACTIVE
		return &channelv1.CreateBotApiResponse{BotApi: made}, nil
	}
	body := `{"displayName":"Bot","agentId":"64a1b2c3d4e5f6a7b8c9d0aa","version":"V1","callbackUrl":"https://example.com","callbackToken":"Bearer x"}`
	got := h.do(t, "POST", "/v1/instances/loja/botApis", body, "Authorization: Bearer "+rootKey)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Equal(t, `{"id":"","displayName":"Bot","agentId":"64a1b2c3d4e5f6a7b8c9d0aa","squad":"","version":"V1","callbackUrl":"https://example.com",`+
		`"includeContext":false,"state":"ACTIVE","stateReason":"","token":"pbt_x","signingSecret":"whsec_y"}`, got.body)

	for _, token := range []string{" x", "x ", "é", strings.Repeat("a", 1025), "a\\nb"} {
		got = h.do(t, "POST", "/v1/instances/loja/botApis", strings.Replace(body, "Bearer x", token, 1), "Authorization: Bearer "+rootKey)
		require.Equal(t, http.StatusBadRequest, got.status, token)
		require.Equal(t, []string{"callbackToken"}, got.names(t))
	}
	got = h.do(t, "POST", "/v1/instances/loja/botApis", strings.Replace(body, "Bearer x", strings.Repeat("a", 1024), 1), "Authorization: Bearer "+rootKey)
	require.Equal(t, http.StatusOK, got.status)
	got = h.do(t, "POST", "/v1/instances/loja/botApis", `{"version":"V3","agentId":""}`, "Authorization: Bearer "+rootKey)
	require.ElementsMatch(t, []string{"version", "agentId"}, got.names(t))
}

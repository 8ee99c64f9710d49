package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const goodMessage = `{"channelId":"64a1b2c3d4e5f6a7b8c9d0e1","clientIdentifier":"user-123","type":"text","text":"Olá, preciso de ajuda"}`

func TestAPIChannelAccepts(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.receive = func(_ context.Context, r *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
		if r.GetChannelId() != "64a1b2c3d4e5f6a7b8c9d0e1" || r.GetClientIdentifier() != "user-123" || r.GetText() != "Opção 1" || r.GetPostback() != "index0" {
			return nil, errors.New("not what was sent")
		}
		return &channelv1.ReceiveMessageResponse{Status: "ok", MessageId: "64a1b2c3d4e5f6a7b8c9d0e9"}, nil
	}
	got := h.post(t, `{"channelId":"64a1b2c3d4e5f6a7b8c9d0e1","clientIdentifier":"user-123","type":"text","text":"Op\u00e7ão 1","postback":"index0",
		"unknown":{"is":["ignored"]},"unknown":1}`)
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, `{"status":"ok"}`, got.body)
	require.Equal(t, "64a1b2c3d4e5f6a7b8c9d0e9", got.header.Get("Prosa-Message-Id"))
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.NotEmpty(t, got.header.Get("X-Request-Id"))
	for name := range got.header {
		require.False(t, strings.HasPrefix(name, "Grpc-"), name)
	}
}

func TestAPIChannelFailures(t *testing.T) {
	common := func(code codes.Code, reason accountsv1.ErrorReason) *rpcerr.Error {
		return rpcerr.New(code, reason, "a sentence")
	}
	tests := map[string]struct {
		err        error
		status     int
		body       string
		retryAfter string
	}{
		"unknown channel": {
			err:    rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_CHANNEL_NOT_FOUND, "no such channel"),
			status: 404, body: `{"status":"error","message":"Channel not found."}`,
		},
		"inbound token": {
			err:    rpcerr.New(codes.Unauthenticated, channelv1.ErrorReason_ERROR_REASON_INBOUND_TOKEN_INVALID, "wrong"),
			status: 401, body: `{"status":"error","message":"The inbound token is missing or wrong."}`,
		},
		"key reused": {
			err:    common(codes.AlreadyExists, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED),
			status: 422, body: `{"status":"error","message":"The Idempotency-Key was used with another request."}`,
		},
		"key in flight": {
			err:    common(codes.Aborted, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_IN_FLIGHT),
			status: 409, body: `{"status":"error","message":"The first request with this Idempotency-Key has not ended yet."}`,
		},
		"too many": {
			err:    common(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED).WithRetryAfter(2500 * time.Millisecond),
			status: 429, body: `{"status":"error","message":"Too many requests."}`, retryAfter: "3",
		},
		"unavailable": {
			err:    rpcerr.Unavailable(errors.New("disk full")).WithRetryAfter(time.Millisecond),
			status: 503, body: `{"status":"error","message":"The message cannot be taken now, try again later."}`, retryAfter: "1",
		},
		"deadline": {
			err:    context.DeadlineExceeded,
			status: 504, body: `{"status":"error","message":"The message was not taken in time, try again."}`,
		},
		"unexpected": {
			err:    errors.New("pq: relation channels does not exist on db.internal:5432"),
			status: 500, body: `{"status":"error","message":"Unexpected error."}`,
		},
		"service's own violations": {
			err:    rpcerr.Invalid(rpcerr.Violation{Field: "postback", Reason: "is not on the menu"}),
			status: 400, body: `{"status":"error","message":"The request is invalid.","invalidParams":[{"name":"postback","reason":"is not on the menu"}]}`,
		},
	}
	h := newHarness(t, Config{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h.fakes.receive = func(context.Context, *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
				return nil, test.err
			}
			got := h.post(t, goodMessage)
			require.Equal(t, test.status, got.status)
			require.Equal(t, test.body, got.body)
			require.Equal(t, test.retryAfter, got.header.Get("Retry-After"))
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			require.NotEmpty(t, got.header.Get("X-Request-Id"))
			require.Empty(t, got.header.Get("Prosa-Message-Id"))
		})
	}
}

func TestAPIChannelNamesEveryBadField(t *testing.T) {
	deep := func(levels int) string {
		return `{"x":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`
	}
	tests := map[string]struct {
		body    string
		names   []string
		message string
	}{
		"nothing":               {body: `{}`, names: []string{"channelId", "clientIdentifier", "type", "text"}},
		"no body":               {body: "", names: []string{"channelId", "clientIdentifier", "type", "text"}},
		"wrong types":           {body: `{"channelId":1,"clientIdentifier":["a"],"type":true,"text":{"a":1}}`, names: []string{"channelId", "clientIdentifier", "type", "text"}},
		"types and rules":       {body: `{"channelId":"zz","clientIdentifier":"","type":7,"text":"a","postback":"x"}`, names: []string{"type", "channelId", "clientIdentifier", "postback"}},
		"null is unset":         {body: `{"channelId":null,"clientIdentifier":"a","type":"text","text":"b"}`, names: []string{"channelId"}},
		"contract's own names":  {body: strings.Replace(goodMessage, "channelId", "channel_id", 1), names: []string{"channelId"}},
		"twice":                 {body: strings.Replace(goodMessage, `{`, `{"text":"a",`, 1), names: []string{"text"}},
		"invalid UTF-8":         {body: strings.Replace(goodMessage, "Olá", "Ol\xe1", 1), names: []string{"text"}},
		"half a surrogate":      {body: strings.Replace(goodMessage, "Olá", `\ud800`, 1), names: []string{"text"}},
		"U+0000":                {body: strings.Replace(goodMessage, "Olá", `\u0000`, 1), names: []string{"text"}},
		"as deep as may be":     {body: deep(32), names: []string{"channelId", "clientIdentifier", "type", "text"}},
		"deeper":                {body: deep(33), message: "The body is nested deeper than 32 levels."},
		"deep beyond reason":    {body: strings.Repeat(`{"a":[`, 20_000), message: "The body is nested deeper than 32 levels."},
		"not JSON":              {body: `text=hello`, message: "The body must be a JSON object."},
		"broken":                {body: `{"text":}`, message: "The body is not valid JSON near byte 8."},
		"cut":                   {body: goodMessage[:40], message: "The body is not valid JSON: it ends too early."},
		"white space":           {body: " \n", message: "The body is not valid JSON: it ends too early."},
		"a list":                {body: `[` + goodMessage + `]`, message: "The body must be a JSON object."},
		"null":                  {body: `null`, message: "The body must be a JSON object."},
		"something after":       {body: goodMessage + ` {}`, message: "The body has something after the JSON object."},
		"garbage after":         {body: goodMessage + `x`, message: "The body has something after the JSON object."},
		"text one past limit":   {body: strings.Replace(goodMessage, "Olá, preciso de ajuda", strings.Repeat("é", 10_001), 1), names: []string{"text"}},
		"person one past limit": {body: strings.Replace(goodMessage, "user-123", strings.Repeat("é", 257), 1), names: []string{"clientIdentifier"}},
	}
	h := newHarness(t, Config{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := h.post(t, test.body)
			require.Equal(t, http.StatusBadRequest, got.status, got.body)
			require.ElementsMatch(t, test.names, got.names(t), got.body)
			if test.message == "" {
				test.message = "The request is invalid."
			}
			require.Contains(t, got.body, fmt.Sprintf(`{"status":"error","message":%q,"invalidParams":[`, test.message))
			_, _, calls := h.fakes.seen()
			require.Zero(t, calls)
		})
	}
	require.Equal(t, http.StatusOK, h.post(t, strings.Replace(goodMessage, "Olá, preciso de ajuda", strings.Repeat("é", 10_000), 1)).status)
	require.Equal(t, http.StatusOK, h.post(t, strings.Replace(goodMessage, "user-123", strings.Repeat("é", 256), 1)).status)
}

func TestIdempotencyKey(t *testing.T) {
	h := newHarness(t, Config{})
	for name, keys := range map[string][]string{
		"too long": {"Idempotency-Key: " + strings.Repeat("a", 256)}, "not ASCII": {"Idempotency-Key: é"}, "two": {"Idempotency-Key: a", "Idempotency-Key: b"},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.post(t, `{"type":1}`, keys...)
			require.Equal(t, http.StatusBadRequest, got.status)
			require.Equal(t, []string{"Idempotency-Key", "type", "channelId", "clientIdentifier", "text"}, got.names(t))
		})
	}
	request, err := http.NewRequest(http.MethodPost, "http://"+h.address+"/webhooks/api", strings.NewReader(goodMessage))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", "")
	require.Equal(t, []string{"Idempotency-Key"}, h.send(t, request).names(t))

	require.Equal(t, http.StatusOK, h.post(t, goodMessage, "Idempotency-Key: "+strings.Repeat("a", 255)).status)
	md, _, calls := h.fakes.seen()
	require.Equal(t, []string{strings.Repeat("a", 255)}, md.Get("idempotency-key"))
	require.Equal(t, 1, calls)
}

func TestAPIChannelOverAConnectionThatFails(t *testing.T) {
	for code, want := range map[codes.Code]int{codes.Unavailable: 503, codes.Canceled: 503, codes.Unimplemented: 501, codes.Unknown: 500, codes.DeadlineExceeded: 504} {
		h := newHarness(t, Config{}, func(d *Deps) {
			d.Channel = failing{status.Error(code, "dial tcp 10.1.2.3:9090: connection refused")}
		})
		got := h.post(t, goodMessage)
		require.Equal(t, want, got.status)
		require.NotContains(t, got.body, "10.1.2.3")
		require.Contains(t, got.body, `{"status":"error","message":"`)
		require.Contains(t, h.log.String(), "connection refused")
	}
}

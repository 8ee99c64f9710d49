package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const (
	channels  = "/v1/instances/acme/channels"
	agentID   = "64a1b2c3d4e5f6a7b8c9d0e1"
	bearer    = "Authorization: Bearer " + manageKey
	requestR1 = "X-Request-Id: r1"
)

func TestManagementCreate(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.createChannel = func(_ context.Context, r *channelv1.CreateChannelRequest) (*channelv1.CreateChannelResponse, error) {
		made := proto.CloneOf(r.GetChannel())
		made.Id, made.SigningSecret, made.InboundToken = agentID, "whsec_x", ""
		made.State, made.FailurePolicy, made.CreateTime = channelv1.Channel_ACTIVE, channelv1.Channel_SKIP, timestamppb.New(started)
		return &channelv1.CreateChannelResponse{Channel: made}, nil
	}
	got := h.do(t, "POST", channels, `{"agentId":"`+agentID+`","webhookUrl":"https://example.com/<h>","timeout":"15s","acknowledgement":"ANY_2XX","test":true}`, bearer)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, `{"id":"`+agentID+`","displayName":"","agentId":"`+agentID+`","webhookUrl":"https://example.com/<h>","test":true,"inboundTokenSet":false,`+
		`"acknowledgement":"ANY_2XX","timeout":"15s","failurePolicy":"SKIP","state":"ACTIVE","stateReason":"","signingSecret":"whsec_x","createTime":"2024-01-15T10:30:00Z"}`, got.body)
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))

	h.fakes.createAPIKey = func(_ context.Context, r *accountsv1.CreateApiKeyRequest) (*accountsv1.CreateApiKeyResponse, error) {
		return &accountsv1.CreateApiKeyResponse{ApiKey: &accountsv1.ApiKey{Scopes: r.GetApiKey().GetScopes()}}, nil
	}
	got = h.do(t, "POST", "/v1/instances/acme/apiKeys", `{"scopes":["manage"]}`, bearer)
	require.Equal(t, `{"id":"","displayName":"","scopes":["manage"],"prefix":""}`, got.body)
}

func TestManagementListAndQuery(t *testing.T) {
	h := newHarness(t, Config{})
	var asked *channelv1.ListChannelsRequest
	h.fakes.listChannels = func(_ context.Context, r *channelv1.ListChannelsRequest) (*channelv1.ListChannelsResponse, error) {
		asked = proto.CloneOf(r)
		return &channelv1.ListChannelsResponse{}, nil
	}
	got := h.do(t, "GET", channels+"?pageSize=500&pageToken=a%26b", "", bearer)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, `{"channels":[],"nextPageToken":""}`, got.body)
	require.True(t, proto.Equal(&channelv1.ListChannelsRequest{Instance: "acme", PageSize: 500, PageToken: "a&b"}, asked))

	for query, names := range map[string][]string{
		"pageSize=501":                           {"pageSize"},
		"pageSize=x&colour=red&page_token=a":     {"colour", "pageSize", "page_token"},
		"pageSize=1&pageSize=2":                  {"pageSize"},
		"pageSize=99999999999":                   {"pageSize"},
		"pageToken=" + strings.Repeat("a", 1025): {"pageToken"},
		"pageToken=%00":                          {"pageToken"},
		"pageToken=%ff":                          {"pageToken"},
		"instance=other":                         {"instance"},
		"pageSize=1;a":                           {"query"},
		"colour=red&pageToken=" + strings.Repeat("a", 1025): {"colour", "pageToken"},
	} {
		got := h.do(t, "GET", channels+"?"+query, "", bearer)
		require.Equal(t, 400, got.status, query)
		require.ElementsMatch(t, names, got.names(t), query)
	}
}

func TestManagementBadFields(t *testing.T) {
	h := newHarness(t, Config{})
	for name, test := range map[string]struct {
		body  string
		names []string
	}{
		"required":        {`{}`, []string{"agentId", "webhookUrl"}},
		"no body":         {``, []string{"agentId", "webhookUrl"}},
		"unknown":         {`{"agentId":"` + agentID + `","webhookUrl":"https://a","colour":1,"webhook_url":"a"}`, []string{"colour", "webhook_url"}},
		"unknown, others": {`{"colour":{"a":1},"timeout":"31s","agentId":"x"}`, []string{"colour", "timeout", "agentId", "webhookUrl"}},
		"types":           {`{"agentId":1,"webhookUrl":"https://a","timeout":15,"acknowledgement":"MAYBE","test":"yes","createTime":"now"}`, []string{"agentId", "timeout", "acknowledgement", "test", "createTime"}},
		"not by number":   {`{"agentId":"` + agentID + `","webhookUrl":"https://a","acknowledgement":2}`, []string{"acknowledgement"}},
		"broken":          {`{"agentId"`, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.do(t, "POST", channels, test.body, bearer)
			require.Equal(t, 400, got.status)
			require.ElementsMatch(t, test.names, got.names(t), got.body)
			require.Contains(t, got.body, `"reason":"REQUEST_INVALID"`)
			require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
		})
	}
}

func TestManagementPatch(t *testing.T) {
	h := newHarness(t, Config{})
	var asked *channelv1.UpdateChannelRequest
	h.fakes.updateChannel = func(_ context.Context, r *channelv1.UpdateChannelRequest) (*channelv1.UpdateChannelResponse, error) {
		asked = proto.CloneOf(r)
		return &channelv1.UpdateChannelResponse{Channel: &channelv1.Channel{}}, nil
	}
	for name, test := range map[string]struct {
		query, body string
		mask        []string
		channel     *channelv1.Channel
	}{
		"what the body names": {"", `{"timeout":"5s","inboundToken":null,"displayName":"","test":false}`, []string{"timeout", "inbound_token", "display_name", "test"}, &channelv1.Channel{Timeout: durationpb.New(5 * time.Second)}},
		"nothing":             {"", `{}`, nil, &channelv1.Channel{}},
		"no body":             {"", ``, nil, &channelv1.Channel{}},
		"a mask of its own":   {"?updateMask=displayName,webhookUrl", `{"displayName":"a","timeout":"5s"}`, []string{"display_name", "webhook_url"}, &channelv1.Channel{DisplayName: "a", Timeout: durationpb.New(5 * time.Second)}},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.do(t, "PATCH", channels+"/c1"+test.query, test.body, bearer)
			require.Equal(t, 200, got.status, got.body)
			require.Equal(t, test.mask, asked.GetUpdateMask().GetPaths())
			require.True(t, proto.Equal(test.channel, asked.GetChannel()), asked)
			require.Equal(t, "c1", asked.GetId())
			require.NotNil(t, asked.GetUpdateMask())
		})
	}
	got := h.do(t, "PATCH", channels+"/c1?updateMask=display_name", `{"colour":1}`, bearer)
	require.Equal(t, 400, got.status)
	require.Equal(t, []string{"updateMask", "colour"}, got.names(t))
}

func TestManagementAgentDefinition(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.createAgent = func(_ context.Context, r *agentv1.CreateAgentRequest) (*agentv1.CreateAgentResponse, error) {
		if r.GetAgent().GetDescription() == "bad" {
			return nil, rpcerr.New(codes.InvalidArgument, agentv1.ErrorReason_ERROR_REASON_AGENT_DEFINITION_INVALID, "the definition has faults").
				WithViolations(rpcerr.Violation{Field: "agent.definition.nodes.a.goto", Reason: "line 3, column 7: no such node"}, rpcerr.Violation{Field: "definition", Reason: "b"})
		}
		return &agentv1.CreateAgentResponse{Agent: &agentv1.Agent{Definition: r.GetAgent().GetDefinition(), AssistantId: 7}}, nil
	}
	agents := "/v1/instances/acme/agents"
	got := h.do(t, "POST", agents, `{"definition":{"nodes":{"b":{"say":[{"text":"olá \"x\""}]},"a":{"end":true,"n":1.5,"z":null}}}}`, bearer)
	require.Equal(t, 200, got.status, got.body)
	require.Contains(t, got.body, `"assistantId":"7"`)
	require.Contains(t, got.body, `"definition":{"nodes":{"a":{"end":true,"n":1.5,"z":null},"b":{"say":[{"text":"olá \"x\""}]}}}`)
	got = h.do(t, "POST", agents, `{"definition":"displayName: Eco\n"}`, bearer)
	require.Contains(t, got.body, `"definition":"displayName: Eco\n"`)

	got = h.do(t, "POST", agents, `{"definition":"x","description":"bad"}`, bearer, requestR1)
	require.Equal(t, 400, got.status)
	require.Equal(t, `{"type":"https://httpproblems.com/http-status/400","title":"Bad Request","status":400,"detail":"the definition has faults",`+
		`"instance":"/v1/instances/acme/agents","reason":"AGENT_DEFINITION_INVALID","invalidParams":[{"name":"definition.nodes.a.goto",`+
		`"reason":"line 3, column 7: no such node"},{"name":"definition","reason":"b"}],"requestId":"r1"}`, got.body)

	for body, names := range map[string][]string{
		`{}`:                      {"definition"},
		`{"definition":null}`:     {"definition"},
		`{"definition":"\u0000"}`: {"definition"},
		`{"definition":{"a":{"b":"\u0000","b":1,"c":["\ud800",1e999]}}}`: {"definition.a.b", "definition.a.c[0]", "definition.a.c[1]"},
	} {
		got := h.do(t, "POST", agents, body, bearer)
		require.Equal(t, 400, got.status, body)
		require.ElementsMatch(t, names, got.names(t), got.body)
	}
}

func TestManagementProblems(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.getChannel = func(_ context.Context, r *channelv1.GetChannelRequest) (*channelv1.GetChannelResponse, error) {
		switch r.GetId() {
		case "exists":
			return nil, rpcerr.New(codes.AlreadyExists, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_EXISTS, "the slug is in use", "instance", "acme")
		case "reused":
			return nil, rpcerr.New(codes.FailedPrecondition, accountsv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED, "the key was used with another request")
		case "busy":
			return nil, rpcerr.Unavailable(nil).WithRetryAfter(3 * time.Second)
		case "late":
			return nil, context.DeadlineExceeded
		case "panic":
			panic("boom at db.internal")
		}
		return nil, rpcerr.New(codes.NotFound, channelv1.ErrorReason_ERROR_REASON_CHANNEL_NOT_FOUND, "there is no such channel", "id", r.GetId())
	}
	tests := map[string]struct {
		path    string
		headers []string
		status  int
		rest    string // after title, status
	}{
		"not found":      {"/x", []string{bearer}, 404, `"detail":"there is no such channel","instance":"/v1/instances/acme/channels/x","reason":"CHANNEL_NOT_FOUND","requestId":"r1"}`},
		"exists":         {"/exists", []string{bearer}, 409, `"detail":"the slug is in use","instance":"/v1/instances/acme/channels/exists","reason":"INSTANCE_EXISTS","requestId":"r1"}`},
		"reused":         {"/reused", []string{bearer}, 422, `"detail":"the key was used with another request","instance":"/v1/instances/acme/channels/reused","reason":"IDEMPOTENCY_KEY_REUSED","requestId":"r1"}`},
		"busy":           {"/busy", []string{bearer}, 503, `"detail":"The service cannot take the call now, try again later","instance":"/v1/instances/acme/channels/busy","reason":"UNAVAILABLE","requestId":"r1"}`},
		"late":           {"/late", []string{bearer}, 504, `"detail":"The call did not end in time","instance":"/v1/instances/acme/channels/late","reason":"UNAVAILABLE","requestId":"r1"}`},
		"panic":          {"/panic", []string{bearer}, 500, `"detail":"Something unexpected happened; the log has it under the request id","instance":"/v1/instances/acme/channels/panic","reason":"INTERNAL","requestId":"r1"}`},
		"no credentials": {"/x", nil, 401, `"detail":"No Authorization Header","instance":"/v1/instances/acme/channels/x","reason":"CREDENTIALS_MISSING","requestId":"r1"}`},
		"wrong scheme":   {"/x", []string{"Authorization: Basic eDp5"}, 401, `"detail":"Invalid Authorization Scheme","instance":"/v1/instances/acme/channels/x","reason":"CREDENTIALS_MALFORMED","requestId":"r1"}`},
		"wrong key":      {"/x", []string{"Authorization: Bearer nope"}, 401, `"detail":"API Key is invalid or does not have access to the API","instance":"/v1/instances/acme/channels/x","reason":"API_KEY_INVALID","requestId":"r1"}`},
		"scope":          {"/x", []string{"Authorization: Bearer " + contactsKey}, 403, `"detail":"the key may not do this","instance":"/v1/instances/acme/channels/x","reason":"SCOPE_MISSING","requestId":"r1"}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := h.do(t, "GET", channels+test.path, "", append(test.headers, requestR1)...)
			require.Equal(t, test.status, got.status, got.body)
			require.True(t, strings.HasPrefix(got.body, `{"type":"https://httpproblems.com/http-status/`), got.body)
			require.True(t, strings.HasSuffix(got.body, test.rest), got.body)
			require.NotContains(t, got.body, "db.internal")
			require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
			if test.status == 503 {
				require.Equal(t, "3", got.header.Get("Retry-After"))
			}
			if test.status == 401 {
				require.Equal(t, "Bearer", got.header.Get("WWW-Authenticate"))
			}
		})
	}
	got := h.do(t, "GET", "/v1/instances/other/channels/x", "", bearer)
	require.Equal(t, 404, got.status)
	require.Contains(t, got.body, `"reason":"INSTANCE_NOT_FOUND"`)
	// Not implemented by the fakes.
	require.Equal(t, 501, h.do(t, "GET", "/v1/instances/acme", "", bearer).status)
}

func TestNoCredentialsIsSaidBeforeTheBodyIsRead(t *testing.T) {
	h := newHarness(t, Config{})
	got := h.do(t, "POST", channels, `{"colour":1}`)
	require.Equal(t, http.StatusUnauthorized, got.status)
}

func TestUsage(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.getUsage = func(_ context.Context, r *accountsv1.GetUsageRequest) (*accountsv1.GetUsageResponse, error) {
		require.Equal(t, "acme", r.GetInstance())
		require.Equal(t, int32(2), r.GetPageSize())
		return &accountsv1.GetUsageResponse{Date: "2024-01-15", ResetTime: timestamppb.New(started), Keys: []*accountsv1.KeyUsage{{
			ApiKeyId: agentID, Calls: []*accountsv1.CallUsage{{Kind: "contacts", Today: 7, DailyLimit: 50_000, RemainingToday: 49_993, PerSecondLimit: 10}},
		}}}, nil
	}
	for range 30 {
		got := h.do(t, "GET", "/v1/instances/acme/usage?pageSize=2", "", bearer)
		require.Equal(t, 200, got.status, got.body)
		require.Equal(t, `{"date":"2024-01-15","resetTime":"2024-01-15T10:30:00Z","keys":[{"apiKeyId":"`+agentID+`","displayName":"","calls":[`+
			`{"kind":"contacts","today":7,"dailyLimit":50000,"remainingToday":49993,"perSecondLimit":10}]}],"nextPageToken":""}`, got.body)
		require.Empty(t, got.header.Get("RateLimit"), "to ask costs nothing")
	}
}

func TestProblemsOfServicesThatSaidNothingHaveAReasonToo(t *testing.T) {
	for code, want := range map[codes.Code]string{codes.Unavailable: "UNAVAILABLE", codes.DeadlineExceeded: "UNAVAILABLE", codes.Unknown: "INTERNAL"} {
		h := newHarness(t, Config{}, func(d *Deps) { d.Channel = failing{status.Error(code, "dial tcp 10.1.2.3:9090: connection refused")} })
		got := h.do(t, "GET", channels, "", bearer)
		require.Contains(t, got.body, `"reason":"`+want+`"`)
		require.NotContains(t, got.body, "10.1.2.3")
	}
}

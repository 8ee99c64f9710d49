package gateway

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

const contactsHeader = "X-Api-Key: " + rootKey // the key without the limit of ten a second would be as good

func (h *harness) ask(t testing.TB, body string, headers ...string) answer {
	t.Helper()
	if len(headers) == 0 {
		headers = []string{contactsHeader}
	}
	return h.do(t, http.MethodPost, "/contacts/acme", body, headers...)
}

// unlimited is a connection whose calls do not count against the limit of the real chain.
func unlimited(query func(context.Context, *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error)) func(*Deps) {
	return func(d *Deps) { d.Contacts = queryConn{query: query} }
}

type queryConn struct {
	failing
	query func(context.Context, *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error)
}

func (c queryConn) Invoke(ctx context.Context, _ string, request, reply any, _ ...grpc.CallOption) error {
	answer, err := c.query(ctx, request.(*contactsv1.QueryContactsRequest))
	if err != nil {
		return err
	}
	proto.Merge(reply.(proto.Message), answer)
	return nil
}

func documentedPage() *contactsv1.QueryContactsResponse {
	text := func(words string) *messagev1.Message {
		return &messagev1.Message{Origin: messagev1.Origin_ORIGIN_BOT, Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: words}}}
	}
	return &contactsv1.QueryContactsResponse{
		ResultCount: 150, Pagination: proto.String("hash of the next page"),
		Contacts: []*contactsv1.Attendance{
			{
				Id: 3213, Identifier: "52fe68c3-4501-cde1-e6fb-d3cb11d0ad9c", AssistantId: 1, Source: "widget", Interactions: 30,
				DateCreated: "2020-06-01", FinishedAt: proto.String("2020-06-03"), Attributes: map[string]string{"name": "…", "email": "a@b"},
				InteractionId: "64a1b2c3d4e5f6a7b8c9d0e1", ContactId: "64a1b2c3d4e5f6a7b8c9d0e2",
				History: []*contactsv1.HistoryItem{
					{
						Time:   timestamppb.New(time.Date(2020, 6, 1, 12, 45, 59, 158_000_000, time.UTC)),
						Sender: "bot", Messages: []*messagev1.Message{text("Olá! Eu sou o assistente virtual."), text("O que você deseja?")},
					},
					{
						Time:   timestamppb.New(time.Date(2020, 6, 1, 12, 46, 0, 0, time.UTC)),
						Sender: "user", Messages: []*messagev1.Message{text("Opção 1")}, Postback: "index0",
					},
				},
				Events: []*contactsv1.Event{{
					Id: 13213, AssistantId: 1, AttendanceId: 16267, EventName: "transbordo", EventId: 12,
					Details: map[string]string{"skill": "assistencia_tecnica", "cpf": "12345678909"}, Time: timestamppb.New(time.Date(2020, 6, 22, 19, 38, 42, 0, time.UTC)),
					Date: "2020-06-22 16:38:42",
				}},
			},
			{Id: 1, Identifier: "x", AssistantId: 2, Source: "api", ExternalId: proto.String("e"), DateCreated: "2020-01-01"},
		},
	}
}

const (
	attendanceHead = `{"id":3213,"identifier":"52fe68c3-4501-cde1-e6fb-d3cb11d0ad9c","assistantId":1,"source":"widget","externalId":null,"interactions":30,` +
		`"dateCreated":"2020-06-01","finishedAt":"2020-06-03","attributes":{"email":"a@b","name":"…"}`
	attendanceHistory = `,"history":[{"time":"2020-06-01T12:45:59.158Z","sender":"bot","message":[{"text":"Olá! Eu sou o assistente virtual.","type":"text"},` +
		`{"text":"O que você deseja?","type":"text"}]},{"time":"2020-06-01T12:46:00.000Z","sender":"user","message":[{"text":"Opção 1","type":"text"}],"postback":"index0"}]`
	attendanceEvents = `,"events":[{"id":13213,"assistantId":1,"contactId":16267,"externalId":null,"eventName":"transbordo","eventId":12,"extra1":null,"extra2":null,` +
		`"details":{"cpf":"12345678909","skill":"assistencia_tecnica"},"date":"2020-06-22 16:38:42"}]`
	otherAttendance = `{"id":1,"identifier":"x","assistantId":2,"source":"api","externalId":"e","interactions":0,"dateCreated":"2020-01-01","finishedAt":null,"attributes":{}`
	pageTail        = `],"resultCount":"150","pagination":"hash of the next page"}`
)

func TestContactsPage(t *testing.T) {
	page := documentedPage()
	h := newHarness(t, Config{}, unlimited(func(context.Context, *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error) {
		return page, nil
	}))
	without := `{"contacts":[` + attendanceHead + `},` + otherAttendance + `}` + pageTail
	for name, test := range map[string]struct{ body, want string }{
		"plain":                     {`{}`, without},
		"no body":                   {``, without},
		"flags without person":      {`{"filters":{"source":"widget"},"flags":{"history":true,"events":true}}`, without},
		"flags with empty filters":  {`{"filters":{"id":null},"attributes":{"cpf":"1"},"flags":{"history":true,"events":true}}`, without},
		"history by id":             {`{"filters":{"id":"3213"},"flags":{"history":true}}`, `{"contacts":[` + attendanceHead + attendanceHistory + `},` + otherAttendance + `,"history":[]}` + pageTail},
		"events by identifier":      {`{"filters":{"identifier":"x"},"flags":{"events":true}}`, `{"contacts":[` + attendanceHead + attendanceEvents + `},` + otherAttendance + `,"events":[]}` + pageTail},
		"both by phone":             {`{"attributes":{"phone":"1"},"flags":{"history":true,"events":true}}`, `{"contacts":[` + attendanceHead + attendanceHistory + attendanceEvents + `},` + otherAttendance + `,"history":[],"events":[]}` + pageTail},
		"unknown fields are passed": {`{"instance":"other","more":[{}],"filters":{"more":1}}`, without},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.ask(t, test.body)
			require.Equal(t, 200, got.status)
			require.Equal(t, test.want, got.body)
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
		})
	}
	page.Pagination = nil
	require.Contains(t, h.ask(t, `{}`).body, `"pagination":null}`)
}

func TestContactsRequest(t *testing.T) {
	var got *contactsv1.QueryContactsRequest
	h := newHarness(t, Config{}, unlimited(func(_ context.Context, r *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error) {
		got = proto.CloneOf(r)
		return &contactsv1.QueryContactsResponse{}, nil
	}))
	h.ask(t, `{"instance":"other","filters":{"id":"1666","assistantId":1.0,"limit":1e2,"startDate":"2020-06-01"},"attributes":{"identification_number2":"7"},"flags":{"history":true},"pagination":"p"}`)
	require.True(t, proto.Equal(&contactsv1.QueryContactsRequest{
		Instance:   "acme",
		Filters:    &contactsv1.ContactFilters{Id: proto.Int64(1666), AssistantId: proto.Int64(1), Limit: proto.Int32(100), StartDate: proto.String("2020-06-01")},
		Attributes: &contactsv1.ContactAttributes{IdentificationNumber2: proto.String("7")},
		Flags:      &contactsv1.ContactFlags{History: true},
		Pagination: "p",
	}, got), got)
}

func TestContactsFailures(t *testing.T) {
	var failure error
	h := newHarness(t, Config{}, unlimited(func(ctx context.Context, _ *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error) {
		return &contactsv1.QueryContactsResponse{ResultCount: 3}, failure
	}))
	for name, test := range map[string]struct {
		err    error
		status int
		body   string
	}{
		"nothing found": {nil, 404, `{"contacts":[],"resultCount":0}`},
		"bad parameter": {rpcerr.Invalid(rpcerr.Violation{Field: "pagination", Reason: "has expired"}), 400, `{"message":"Bad request","invalidParams":[{"name":"pagination","reason":"has expired"}]}`},
		"wrong key":     {rpcerr.New(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_API_KEY_INVALID, "no"), 401, `{"message":"Unauthorized"}`},
		"wrong scope":   {rpcerr.New(codes.PermissionDenied, accountsv1.ErrorReason_ERROR_REASON_SCOPE_MISSING, "no"), 401, `{"message":"Unauthorized"}`},
		"too many":      {rpcerr.New(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED, "no").WithRetryAfter(time.Minute), 429, `{"message":"Too many requests"}`},
		"unexpected":    {errors.New("boom"), 500, `{"status":"error","message":"Unexpected error"}`},
		"unavailable":   {rpcerr.Unavailable(nil), 503, `{"message":"Service unavailable"}`},
		"deadline":      {context.DeadlineExceeded, 504, `{"message":"Gateway timeout"}`},
	} {
		t.Run(name, func(t *testing.T) {
			failure = test.err
			got := h.ask(t, `{}`)
			require.Equal(t, test.status, got.status)
			require.Equal(t, test.body, got.body)
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			if test.status == 429 {
				require.Equal(t, "60", got.header.Get("Retry-After"))
			}
		})
	}
}

func TestContactsBadParameters(t *testing.T) {
	h := newHarness(t, Config{})
	for name, test := range map[string]struct {
		body  string
		names []string
	}{
		"types":           {`{"filters":{"id":"abc","assistantId":1.5,"identifier":7},"flags":{"history":"yes"},"pagination":5}`, []string{"filters.id", "filters.assistantId", "filters.identifier", "flags.history", "pagination"}},
		"types and rules": {`{"filters":{"limit":"501","id":true,"startDate":"2020-06-01T00"}}`, []string{"filters.id", "filters.limit", "filters.startDate"}},
		"a list":          {`{"filters":[],"attributes":"x"}`, []string{"filters", "attributes"}},
		"not JSON":        {`{`, []string{"body"}},
		"no object":       {`7`, []string{"body"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.ask(t, test.body)
			require.Equal(t, 400, got.status)
			require.Contains(t, got.body, `{"message":"Bad request","invalidParams":[{`)
			require.ElementsMatch(t, test.names, got.names(t))
		})
	}
}

// What the service alone knows is named with what the gateway could not read, and no query is carried out.
func TestContactsFaultsOfBothSides(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.query = func(context.Context, *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error) {
		return nil, errors.New("it was carried out")
	}
	h.fakes.check = func(request any) []rpcerr.Violation {
		r := request.(*contactsv1.QueryContactsRequest)
		return []rpcerr.Violation{{Field: "pagination", Reason: "of " + r.GetPagination()}, {Field: "filters.startDate", Reason: "of " + r.GetFilters().GetStartDate()}}
	}
	got := h.ask(t, `{"filters":{"id":"abc","startDate":"2020-02-30"},"pagination":"p"}`)
	require.Equal(t, 400, got.status)
	require.Equal(t, `{"message":"Bad request","invalidParams":[{"name":"filters.id","reason":"must be an integer"},`+
		`{"name":"pagination","reason":"of p"},{"name":"filters.startDate","reason":"of 2020-02-30"}]}`, got.body)
	require.ElementsMatch(t, []string{"filters", "pagination"}, h.ask(t, `{"filters":7,"pagination":"p"}`).names(t))
	require.ElementsMatch(t, []string{"filters.limit", "pagination", "filters.startDate"}, h.ask(t, `{"filters":{"limit":"x"}}`).names(t))
	require.NotEmpty(t, h.ask(t, `{"filters":{"limit":"x"}}`, "X-Api-Key: "+contactsKey).header.Get("RateLimit"))
	for _, key := range []string{"wrong", manageKey} {
		require.Equal(t, `{"message":"Unauthorized"}`, h.ask(t, `{"filters":{"id":"abc"}}`, "X-Api-Key: "+key).body)
	}
}

func TestContactsBehindTheRealChain(t *testing.T) {
	h := newHarness(t, Config{})
	h.fakes.query = func(ctx context.Context, _ *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error) {
		return documentedPage(), grpc.SetHeader(ctx, metadata.Pairs("x-inner", "secret"))
	}
	for _, headers := range [][]string{{"X-None: 1"}, {"X-Api-Key: wrong"}, {"X-Api-Key: " + manageKey}, {"Authorization: Basic x"}} {
		got := h.ask(t, `{}`, headers...)
		require.Equal(t, 401, got.status)
		require.Equal(t, `{"message":"Unauthorized"}`, got.body)
	}
	got := h.do(t, "POST", "/contacts/other", `{}`, "X-Api-Key: "+contactsKey)
	require.Equal(t, 401, got.status)

	got = h.ask(t, `{}`, "X-Api-Key: "+contactsKey)
	require.Equal(t, 200, got.status)
	require.Equal(t, []string{`"second";q=10;w=1, "day";q=50000;w=86400`}, got.header["Ratelimit-Policy"])
	require.Regexp(t, `^"second";r=9;t=1, "day";r=49999;t=\d+$`, got.header.Get("RateLimit"))
	for name := range got.header {
		require.NotContains(t, name, "Inner")
	}
	require.Eventually(t, func() bool { got = h.ask(t, `{}`, "X-Api-Key: "+contactsKey); return got.status == 429 }, 5*time.Second, time.Millisecond)
	require.Equal(t, `{"message":"Too many requests"}`, got.body)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Regexp(t, `^"second";r=0;t=1, "day";r=499\d\d;t=\d+$`, got.header.Get("RateLimit"))
	require.NotEmpty(t, got.header.Get("RateLimit-Policy"))
}

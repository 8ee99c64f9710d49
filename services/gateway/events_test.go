package gateway

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func (h *harness) askEvents(t testing.TB, body string, headers ...string) answer {
	t.Helper()
	if len(headers) == 0 {
		headers = []string{contactsHeader}
	}
	return h.do(t, http.MethodPost, "/events/acme", body, headers...)
}

type eventConn struct {
	failing
	query func(*contactsv1.QueryEventsRequest) (*contactsv1.QueryEventsResponse, error)
}

func (c eventConn) Invoke(_ context.Context, _ string, request, reply any, _ ...grpc.CallOption) error {
	answer, err := c.query(request.(*contactsv1.QueryEventsRequest))
	if err != nil {
		return err
	}
	proto.Merge(reply.(proto.Message), answer)
	return nil
}

func TestEventsPage(t *testing.T) {
	page := &contactsv1.QueryEventsResponse{
		ResultCount: 150, Pagination: proto.String("hash of the next page"),
		Events: []*contactsv1.Event{
			{
				Id: 13213, AssistantId: 1, Source: "whatsapp", AttendanceId: 16267, EventId: 12, EventName: "transbordo",
				Details: map[string]string{"skill": "assistencia_tecnica", "cpf": "12345678909"}, Date: "2020-12-04 14:53:11",
			},
			{
				Id: 1, AssistantId: 2, Source: "api", AttendanceId: 3, ExternalId: proto.String("x"), EventId: 4, EventName: "e",
				Extra1: proto.String("um"), Extra2: proto.String(""), Date: "2020-01-02 03:04:05",
			},
		},
	}
	var got *contactsv1.QueryEventsRequest
	var failure error
	h := newHarness(t, Config{}, func(d *Deps) {
		d.Contacts = eventConn{query: func(r *contactsv1.QueryEventsRequest) (*contactsv1.QueryEventsResponse, error) {
			got = proto.CloneOf(r)
			return page, failure
		}}
	})
	answer := h.askEvents(t, `{"instance":"other","filters":{"assistantId":"1","contactId":16267,"limit":"1000","sort":"ASC","eventName":"e","startDate":"2020-12-04 14:53:11","more":1}}`)
	require.Equal(t, 200, answer.status)
	require.Equal(t, `{"events":[{"id":13213,"assistantId":1,"channel":"whatsapp","contactId":16267,"externalId":null,"eventId":12,"eventName":"transbordo",`+
		`"extra1":null,"extra2":null,"details":{"cpf":"12345678909","skill":"assistencia_tecnica"},"date":"2020-12-04T14:53:11"},`+
		`{"id":1,"assistantId":2,"channel":"api","contactId":3,"externalId":"x","eventId":4,"eventName":"e","extra1":"um","extra2":"","details":{},"date":"2020-01-02T03:04:05"}],`+
		`"resultCount":150,"pagination":"hash of the next page"}`, answer.body)
	require.Equal(t, "application/json", answer.header.Get("Content-Type"))
	require.True(t, proto.Equal(&contactsv1.QueryEventsRequest{Instance: "acme", Filters: &contactsv1.EventFilters{
		AssistantId: proto.Int64(1), ContactId: proto.Int64(16267), Limit: proto.Int32(1000), Sort: proto.String("ASC"), EventName: proto.String("e"),
		StartDate: proto.String("2020-12-04 14:53:11"),
	}}, got), got)

	page.Pagination = nil
	require.Contains(t, h.askEvents(t, `{}`).body, `"resultCount":150,"pagination":null}`)
	page.Events = nil
	answer = h.askEvents(t, ``)
	require.Equal(t, 404, answer.status)
	require.Equal(t, `{"events":[],"resultCount":0}`, answer.body)
	for status, test := range map[int]struct {
		err  error
		body string
	}{
		400: {rpcerr.Invalid(rpcerr.Violation{Field: "pagination", Reason: "has expired"}), `{"message":"Bad request","invalidParams":[{"name":"pagination","reason":"has expired"}]}`},
		401: {rpcerr.New(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_API_KEY_INVALID, "no"), `{"message":"Unauthorized"}`},
		429: {rpcerr.New(codes.ResourceExhausted, accountsv1.ErrorReason_ERROR_REASON_RATE_LIMITED, "no"), `{"message":"Too many requests"}`},
		500: {rpcerr.Internal(nil), `{"status":"error","message":"Unexpected error"}`},
	} {
		failure = test.err
		answer := h.askEvents(t, `{}`)
		require.Equal(t, status, answer.status)
		require.Equal(t, test.body, answer.body)
	}
}

func TestEventsBadParameters(t *testing.T) {
	h := newHarness(t, Config{})
	for body, names := range map[string][]string{
		`{"filters":{"contactId":"abc","assistantId":1.5,"sort":1,"eventName":7},"pagination":5}`: {"filters.contactId", "filters.assistantId", "filters.sort", "filters.eventName", "pagination"},
		`{"filters":{"limit":1001,"sort":"up","startDate":"2020-06-01","endDate":true}}`:          {"filters.limit", "filters.sort", "filters.startDate", "filters.endDate"},
		`[]`: {"body"},
	} {
		got := h.askEvents(t, body)
		require.Equal(t, 400, got.status)
		require.ElementsMatch(t, names, got.names(t))
	}
	require.Equal(t, 401, h.askEvents(t, `{}`, "X-Api-Key: wrong").status)
	require.Equal(t, `{"message":"Unauthorized"}`, h.askEvents(t, `{}`, "X-Api-Key: "+manageKey).body)
}

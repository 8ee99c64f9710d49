package contacts_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

type eventFilters = contactsv1.EventFilters

func (f *fixture) events(t *testing.T, request *contactsv1.QueryEventsRequest) *contactsv1.QueryEventsResponse {
	t.Helper()
	response, err := f.queries.QueryEvents(t.Context(), request)
	require.NoError(t, err)
	return response
}

func eventNumbers(response *contactsv1.QueryEventsResponse) []int64 {
	list := []int64{}
	for _, e := range response.GetEvents() {
		list = append(list, e.GetId())
	}
	return list
}

// report records a turn with an event of each name, at a moment.
func (f *fixture) report(t *testing.T, instance string, number int64, at time.Time, names ...string) {
	t.Helper()
	f.opened++
	one := turn(number, fmt.Sprint("reporting ", f.opened))
	one.AnswerTime = timestamppb.New(at)
	for _, name := range names {
		one.Events = append(one.Events, &contactsv1.EventRecord{Name: name, Details: map[string]string{"skill": name}})
	}
	f.record(t, instance, one)
}

func TestEventsAreFound(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		night := time.Date(2026, 3, 2, 1, 30, 15, 900_000_000, time.UTC) // the first of March in São Paulo
		ana := f.open(t, "acme", "ana", nil).GetAttendanceId()
		bia := f.open(t, "acme", "bia", func(r *contactsv1.OpenAttendanceRequest) { r.AssistantId, r.Source = 2, "whatsapp" }).GetAttendanceId()
		again := f.open(t, "acme", "ana", nil).GetAttendanceId()
		other := f.open(t, "other", "ana", nil).GetAttendanceId()
		f.report(t, "acme", ana, night, "transbordo", "encerramento")
		f.report(t, "acme", bia, night.Add(time.Hour), "transbordo")
		f.report(t, "acme", again, night.Add(2*time.Hour), "fim")
		f.report(t, "other", other, night, "transbordo")

		for name, test := range map[string]struct {
			filters *eventFilters
			want    []int64
		}{
			"nothing":                {nil, []int64{4, 3, 2, 1}},
			"empty filters":          {&eventFilters{}, []int64{4, 3, 2, 1}},
			"newest first":           {&eventFilters{Sort: ptr("DESC")}, []int64{4, 3, 2, 1}},
			"oldest first":           {&eventFilters{Sort: ptr("ASC")}, []int64{1, 2, 3, 4}},
			"assistant":              {&eventFilters{AssistantId: ptr(int64(2))}, []int64{3}},
			"person":                 {&eventFilters{Identifier: ptr("ana")}, []int64{4, 2, 1}},
			"person, oldest first":   {&eventFilters{Identifier: ptr("ana"), Sort: ptr("ASC")}, []int64{1, 2, 4}},
			"nobody":                 {&eventFilters{Identifier: ptr("Ana")}, []int64{}},
			"attendance":             {&eventFilters{ContactId: &ana}, []int64{2, 1}},
			"external":               {&eventFilters{ExternalId: ptr("x")}, []int64{}},
			"name":                   {&eventFilters{EventName: ptr("transbordo")}, []int64{3, 1}},
			"name with case":         {&eventFilters{EventName: ptr("Transbordo")}, []int64{}},
			"from that second":       {&eventFilters{StartDate: ptr("2026-03-01 22:30:15")}, []int64{4, 3, 2, 1}},
			"from the next":          {&eventFilters{StartDate: ptr("2026-03-01 22:30:16")}, []int64{4, 3}},
			"to that second":         {&eventFilters{EndDate: ptr("2026-03-01 22:30:15")}, []int64{2, 1}},
			"to the one before":      {&eventFilters{EndDate: ptr("2026-03-01T22:30:14")}, []int64{}},
			"one second":             {&eventFilters{StartDate: ptr("2026-3-1 23:30:15"), EndDate: ptr("2026-03-01T23:30:15")}, []int64{3}},
			"all at once":            {&eventFilters{AssistantId: ptr(int64(1)), Identifier: ptr("ana"), ContactId: &again, EventName: ptr("fim"), StartDate: ptr("2026-03-01 00:00:00"), EndDate: ptr("2026-03-02 23:59:59"), Sort: ptr("ASC")}, []int64{4}},
			"contradiction":          {&eventFilters{ContactId: &bia, Identifier: ptr("ana")}, []int64{}},
			"operators are harmless": {&eventFilters{EventName: ptr("' OR 1=1 --"), Identifier: ptr("%")}, []int64{}},
		} {
			response := f.events(t, &contactsv1.QueryEventsRequest{Instance: "acme", Filters: test.filters})
			require.Equal(t, test.want, eventNumbers(response), name)
			require.Equal(t, int64(len(test.want)), response.GetResultCount(), name)
			require.Nil(t, response.Pagination, name)
		}

		got := f.events(t, &contactsv1.QueryEventsRequest{Instance: "acme", Filters: &eventFilters{ContactId: &bia}}).GetEvents()[0]
		want := &contactsv1.Event{
			Id: 3, AssistantId: 2, AttendanceId: bia, EventName: "transbordo", EventId: got.GetEventId(), Details: map[string]string{"skill": "transbordo"},
			Time: timestamppb.New(night.Add(time.Hour)), Source: "whatsapp", Date: "2026-03-01 23:30:15",
		}
		require.True(t, proto.Equal(want, got), got)
		inUTC := f.events(t, &contactsv1.QueryEventsRequest{Instance: "other"})
		require.Equal(t, "2026-03-02 01:30:15", inUTC.GetEvents()[0].GetDate())
		for _, instance := range []string{"acme", "other"} {
			for _, test := range []struct {
				filters *eventFilters
				some    bool
			}{
				{&eventFilters{StartDate: ptr("0000-01-01 00:00:00")}, true},
				{&eventFilters{EndDate: ptr("9999-12-31 23:59:59")}, true},
				{&eventFilters{StartDate: ptr("9999-12-31 23:59:59")}, false},
				{&eventFilters{EndDate: ptr("0000-12-31 23:59:59")}, false},
			} {
				response := f.events(t, &contactsv1.QueryEventsRequest{Instance: instance, Filters: test.filters})
				require.Equal(t, test.some, response.GetResultCount() > 0, "%s %v", instance, test.filters)
			}
		}
		require.Equal(t, 2, testutil.CollectAndCount(f.metrics, "prosa_contacts_event_queries_total"))
	})
}

// A number belongs to a name for ever, and each instance counts its own.
func TestEventTypesKeepTheirNumbers(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		other := f.open(t, "other", "ana", nil).GetAttendanceId()
		f.report(t, "acme", number, start, "transbordo")
		f.report(t, "acme", number, start, "encerramento", "transbordo")
		f.report(t, "other", other, start, "encerramento")
		ids := func(instance string) map[string]int64 {
			found := map[string]int64{}
			for _, e := range f.events(t, &contactsv1.QueryEventsRequest{Instance: instance}).GetEvents() {
				if before, ok := found[e.GetEventName()]; ok {
					require.Equal(t, before, e.GetEventId())
				}
				found[e.GetEventName()] = e.GetEventId()
			}
			return found
		}
		require.Equal(t, map[string]int64{"transbordo": 1, "encerramento": 2}, ids("acme"))
		require.Equal(t, map[string]int64{"encerramento": 1}, ids("other"))
	})
}

// A walk shows what was there when it began, each once, whatever is written meanwhile.
func TestEventWalksDuringWrites(t *testing.T) {
	for name, filters := range map[string]*eventFilters{
		"everything":   {},
		"oldest first": {Sort: ptr("ASC")},
		"name":         {EventName: ptr("e1")},
		"assistant":    {AssistantId: ptr(int64(1)), Sort: ptr("ASC")},
		"person":       {Identifier: ptr("p1")},
		"times":        {StartDate: ptr("2026-03-01 00:00:00"), Sort: ptr("ASC")},
		"attendance":   {ContactId: ptr(int64(2)), Sort: ptr("ASC")},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				for n := range 3 {
					f.open(t, "acme", fmt.Sprint("p", n), nil)
				}
				for n := range 30 {
					f.report(t, "acme", int64(1+n%3), start, fmt.Sprint("e", n%2))
				}
				whole := f.events(t, &contactsv1.QueryEventsRequest{Instance: "acme", Filters: filters})
				want := eventNumbers(whole)

				stop := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					for n := range 100 {
						select {
						case <-stop:
							return
						default:
						}
						one := turn(int64(1+n%3), fmt.Sprint("meanwhile ", n))
						one.Events = []*contactsv1.EventRecord{{Name: "e0"}, {Name: "e1"}}
						_, _ = f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{Instance: "acme", Turns: []*contactsv1.TurnRecord{one}})
					}
				})
				request := &contactsv1.QueryEventsRequest{Instance: "acme", Filters: proto.CloneOf(filters)}
				request.Filters.Limit = ptr(int32(4))
				var seen []int64
				count := int64(-1)
				for {
					response := f.events(t, request)
					seen = append(seen, eventNumbers(response)...)
					if count < 0 {
						count = response.GetResultCount()
					}
					require.Equal(t, count, response.GetResultCount(), "the same on every page")
					if response.Pagination == nil {
						break
					}
					require.LessOrEqual(t, len(response.GetPagination()), 1024)
					request.Pagination = response.GetPagination()
				}
				close(stop)
				wg.Wait()
				require.Len(t, seen, int(count))
				require.Subset(t, seen, want)
				require.True(t, slices.IsSortedFunc(seen, func(a, b int64) int {
					if filters.GetSort() == "ASC" {
						return int(a - b)
					}
					return int(b - a)
				}))
				require.Len(t, slices.Compact(slices.Clone(seen)), len(seen), "none twice")
			})
		})
	}
}

func TestEventTokensAreBound(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		f.open(t, "other", "ana", nil)
		f.report(t, "acme", number, start, "e", "e", "e")
		f.report(t, "other", number, start, "e", "e", "e")
		query := func() *contactsv1.QueryEventsRequest {
			return &contactsv1.QueryEventsRequest{Instance: "acme", Filters: &eventFilters{
				Limit: ptr(int32(1)), Identifier: ptr("ana"), EventName: ptr("e"), AssistantId: ptr(int64(1)), ContactId: &number,
				StartDate: ptr("2026-03-01 00:00:00"), EndDate: ptr("2026-03-02 00:00:00"),
			}}
		}
		token := f.events(t, query()).GetPagination()
		require.NotEmpty(t, token)
		attendances := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"})
		require.Nil(t, attendances.Pagination)
		for name, spoil := range map[string]func(*contactsv1.QueryEventsRequest){
			"forged":             func(r *contactsv1.QueryEventsRequest) { r.Pagination = "AAAA" },
			"cut":                func(r *contactsv1.QueryEventsRequest) { r.Pagination = token[:len(token)-2] },
			"changed":            func(r *contactsv1.QueryEventsRequest) { r.Pagination = "B" + token[1:] },
			"another instance":   func(r *contactsv1.QueryEventsRequest) { r.Instance = "other" },
			"another order":      func(r *contactsv1.QueryEventsRequest) { r.Filters.Sort = ptr("ASC") },
			"another name":       func(r *contactsv1.QueryEventsRequest) { r.Filters.EventName = ptr("f") },
			"without name":       func(r *contactsv1.QueryEventsRequest) { r.Filters.EventName = nil },
			"another person":     func(r *contactsv1.QueryEventsRequest) { r.Filters.Identifier = ptr("bia") },
			"another assistant":  func(r *contactsv1.QueryEventsRequest) { r.Filters.AssistantId = ptr(int64(2)) },
			"another attendance": func(r *contactsv1.QueryEventsRequest) { r.Filters.ContactId = ptr(int64(2)) },
			"with external id":   func(r *contactsv1.QueryEventsRequest) { r.Filters.ExternalId = ptr("x") },
			"another start":      func(r *contactsv1.QueryEventsRequest) { r.Filters.StartDate = ptr("2026-03-01 00:00:01") },
			"another end":        func(r *contactsv1.QueryEventsRequest) { r.Filters.EndDate = ptr("2026-03-02 00:00:01") },
			"no filters at all":  func(r *contactsv1.QueryEventsRequest) { r.Filters = nil },
		} {
			request := query()
			request.Pagination = token
			spoil(request)
			_, err := f.queries.QueryEvents(t.Context(), request)
			require.Error(t, err, name)
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pagination")
		}
		_, err := f.queries.QueryContacts(t.Context(), &contactsv1.QueryContactsRequest{Instance: "acme", Pagination: token})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pagination")

		request := query()
		request.Pagination = token
		request.Filters.Limit, request.Filters.Sort = ptr(int32(2)), ptr("DESC") // said or not, the order is the same
		request.Filters.StartDate = ptr("2026-3-1T0:0:0")                        // and so is another spelling
		f.clock.Advance(24*time.Hour - time.Second)
		require.Equal(t, []int64{2, 1}, eventNumbers(f.events(t, request)))
		f.clock.Advance(time.Second)
		_, err = f.queries.QueryEvents(t.Context(), request)
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pagination")
	})
}

func TestEventQueryLimits(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		long, name := strings.Repeat("ã", 256), strings.Repeat("ã", 128)
		for what, test := range map[string]struct {
			filters *eventFilters
			fields  []string
		}{
			"limit 1":              {&eventFilters{Limit: ptr(int32(1))}, nil},
			"limit 0":              {&eventFilters{Limit: ptr(int32(0))}, []string{"filters.limit"}},
			"limit 1000":           {&eventFilters{Limit: ptr(int32(1000))}, nil},
			"limit 1001":           {&eventFilters{Limit: ptr(int32(1001))}, []string{"filters.limit"}},
			"contactId 0":          {&eventFilters{ContactId: ptr(int64(0))}, []string{"filters.contactId"}},
			"assistantId 0":        {&eventFilters{AssistantId: ptr(int64(0))}, []string{"filters.assistantId"}},
			"identifier of 256":    {&eventFilters{Identifier: &long}, nil},
			"identifier of 257":    {&eventFilters{Identifier: ptr(long + "a")}, []string{"filters.identifier"}},
			"externalId of 256":    {&eventFilters{ExternalId: &long}, nil},
			"externalId of 257":    {&eventFilters{ExternalId: ptr(long + "a")}, []string{"filters.externalId"}},
			"eventName of 128":     {&eventFilters{EventName: &name}, nil},
			"eventName of 129":     {&eventFilters{EventName: ptr(name + "a")}, []string{"filters.eventName"}},
			"empty eventName":      {&eventFilters{EventName: ptr("")}, []string{"filters.eventName"}},
			"sort of another kind": {&eventFilters{Sort: ptr("asc")}, []string{"filters.sort"}},
			"first year":           {&eventFilters{StartDate: ptr("0001-01-01 00:00:00")}, nil},
			"last year":            {&eventFilters{EndDate: ptr("9999-12-31 23:59:59")}, nil},
			"no such day":          {&eventFilters{StartDate: ptr("2026-02-29 00:00:00")}, []string{"filters.startDate"}},
			"no such second":       {&eventFilters{EndDate: ptr("2026-02-28 23:59:60")}, []string{"filters.endDate"}},
			"a day alone":          {&eventFilters{EndDate: ptr("2026-02-28")}, []string{"filters.endDate"}},
			"turned round":         {&eventFilters{StartDate: ptr("2026-03-01 00:00:01"), EndDate: ptr("2026-03-01 00:00:00")}, []string{"filters.endDate"}},
			"the same second":      {&eventFilters{StartDate: ptr("2026-03-01 00:00:01"), EndDate: ptr("2026-03-01 00:00:01")}, nil},
		} {
			_, err := f.queries.QueryEvents(t.Context(), &contactsv1.QueryEventsRequest{Instance: "acme", Filters: test.filters})
			if test.fields == nil {
				require.NoError(t, err, what)
				continue
			}
			require.Error(t, err, what)
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", test.fields...)
		}
		_, err := f.queries.QueryEvents(t.Context(), &contactsv1.QueryEventsRequest{Instance: "nobody"})
		requireFailure(t, err, codes.Unauthenticated, "API_KEY_INVALID")

		f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"})
		checker := f.server.(interface {
			CheckRequest(ctx context.Context, request any) []rpcerr.Violation
		})
		var fields []string
		for _, v := range checker.CheckRequest(t.Context(), &contactsv1.QueryEventsRequest{
			Filters: &eventFilters{StartDate: ptr("2026-02-30 00:00:00"), EndDate: ptr("x"), Limit: ptr(int32(-1))}, Pagination: "z",
		}) {
			fields = append(fields, v.Field)
		}
		require.Equal(t, []string{"filters.startDate", "filters.endDate", "pagination"}, fields)
	})
}

func TestEventPages(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		require.Nil(t, f.events(t, &contactsv1.QueryEventsRequest{Instance: "acme"}).Pagination)
		for n := range 11 {
			one := turn(number, fmt.Sprint("many ", n))
			for range 100 {
				one.Events = append(one.Events, &contactsv1.EventRecord{Name: "e", Details: map[string]string{"k": strings.Repeat("x", 2500)}})
			}
			f.record(t, "acme", one)
		}
		first := f.events(t, &contactsv1.QueryEventsRequest{Instance: "acme"})
		require.Len(t, first.GetEvents(), 100)
		require.EqualValues(t, 1100, first.GetResultCount())
		// 1,000 of these would be more than an answer can carry, so the page ends early.
		request := &contactsv1.QueryEventsRequest{Instance: "acme", Filters: &eventFilters{Limit: ptr(int32(1000))}}
		seen, pages := 0, 0
		for {
			response := f.events(t, request)
			require.Less(t, proto.Size(response), 4<<20)
			seen, pages = seen+len(response.GetEvents()), pages+1
			if response.Pagination == nil {
				break
			}
			request.Pagination = response.GetPagination()
		}
		require.Equal(t, 1100, seen)
		require.Equal(t, 2, pages)
	})
}

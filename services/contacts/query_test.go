package contacts_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestQueryFilters(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		midnight := time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC) // in São Paulo
		ana := f.open(t, "acme", "ana", func(r *contactsv1.OpenAttendanceRequest) { r.Time = timestamppb.New(midnight.Add(-time.Microsecond)) }).GetAttendanceId()
		bia := f.open(t, "acme", "bia", func(r *contactsv1.OpenAttendanceRequest) {
			r.Time, r.Source, r.AssistantId = timestamppb.New(midnight), "api_channel", 2
		}).GetAttendanceId()
		again := f.open(t, "acme", "ana", func(r *contactsv1.OpenAttendanceRequest) {
			r.Time, r.Source = timestamppb.New(midnight.Add(24*time.Hour)), "agent"
		}).GetAttendanceId()
		f.open(t, "other", "ana", nil)
		learn := func(number int64, name string, attributes map[string]string) {
			one := turn(number, name)
			one.Attributes = attributes
			f.record(t, "acme", one)
		}
		learn(ana, "1", map[string]string{"cpf": "123.456.789-09", "phone": "+55 (11) 98765-4321", "email": "Ana@Exemplo.com", "identification_number": "A-1"})
		learn(bia, "2", map[string]string{"phone": "5511987654321", "identification_number4": "Z"})
		_, err := f.db.Exec1(t.Context(), `UPDATE attendance SET external_id = $3 WHERE instance = $1 AND id = $2`, "acme", bia, "ext-1")
		require.NoError(t, err)

		type filters = contactsv1.ContactFilters
		type attributes = contactsv1.ContactAttributes
		for name, test := range map[string]struct {
			filters    *filters
			attributes *attributes
			want       []int64
		}{
			"nothing":                  {nil, nil, []int64{again, bia, ana}},
			"empty filters":            {&filters{}, &attributes{}, []int64{again, bia, ana}},
			"id":                       {&filters{Id: &bia}, nil, []int64{bia}},
			"id of nobody":             {&filters{Id: ptr(int64(99))}, nil, []int64{}},
			"assistant":                {&filters{AssistantId: ptr(int64(1))}, nil, []int64{again, ana}},
			"identifier":               {&filters{Identifier: ptr("ana")}, nil, []int64{again, ana}},
			"identifier with case":     {&filters{Identifier: ptr("Ana")}, nil, []int64{}},
			"external id":              {&filters{ExternalId: ptr("ext-1")}, nil, []int64{bia}},
			"source":                   {&filters{Source: ptr("agent")}, nil, []int64{again}},
			"first day":                {&filters{StartDate: ptr("2026-03-02")}, nil, []int64{again, bia}},
			"last day":                 {&filters{EndDate: ptr("2026-03-01")}, nil, []int64{ana}},
			"one day":                  {&filters{StartDate: ptr("2026-03-02"), EndDate: ptr("2026-03-02")}, nil, []int64{bia}},
			"days without any":         {&filters{StartDate: ptr("2026-03-04"), EndDate: ptr("2026-03-05")}, nil, []int64{}},
			"all at once":              {&filters{AssistantId: ptr(int64(2)), Source: ptr("api_channel"), StartDate: ptr("2026-03-02"), Identifier: ptr("bia"), ExternalId: ptr("ext-1")}, nil, []int64{bia}},
			"contradiction":            {&filters{AssistantId: ptr(int64(2)), Identifier: ptr("ana")}, nil, []int64{}},
			"cpf by digits":            {nil, &attributes{Cpf: ptr("12345678909")}, []int64{again, ana}},
			"cpf otherwise written":    {nil, &attributes{Cpf: ptr("123 456 789 09")}, []int64{again, ana}},
			"cpf without digits":       {nil, &attributes{Cpf: ptr("x")}, []int64{}},
			"phone of two":             {nil, &attributes{Phone: ptr("55 11 98765 4321")}, []int64{again, bia, ana}},
			"e-mail without case":      {nil, &attributes{Email: ptr("ANA@exemplo.COM")}, []int64{again, ana}},
			"number as it is":          {nil, &attributes{IdentificationNumber: ptr("A-1")}, []int64{again, ana}},
			"number with case":         {nil, &attributes{IdentificationNumber: ptr("a-1")}, []int64{}},
			"fourth number":            {nil, &attributes{IdentificationNumber4: ptr("Z")}, []int64{bia}},
			"second number of none":    {nil, &attributes{IdentificationNumber2: ptr("Z")}, []int64{}},
			"third number of none":     {nil, &attributes{IdentificationNumber3: ptr("Z")}, []int64{}},
			"phone and cpf":            {nil, &attributes{Phone: ptr("5511987654321"), Cpf: ptr("12345678909")}, []int64{again, ana}},
			"phone and source":         {&filters{Source: ptr("api_channel")}, &attributes{Phone: ptr("5511987654321")}, []int64{bia}},
			"identifier and cpf":       {&filters{Identifier: ptr("bia")}, &attributes{Cpf: ptr("12345678909")}, []int64{}},
			"operators are plain text": {&filters{Identifier: ptr("' OR 1=1 --"), Source: ptr("%")}, &attributes{Email: ptr("*")}, []int64{}},
		} {
			response := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme", Filters: test.filters, Attributes: test.attributes})
			require.Equal(t, test.want, numbers(response), name)
			require.Equal(t, int64(len(test.want)), response.GetResultCount(), name)
			require.Nil(t, response.Pagination, name)
		}

		// What is written down about an attendance.
		got := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &filters{Id: &bia}}).GetContacts()[0]
		require.Equal(t, "bia", got.GetIdentifier())
		require.Equal(t, "ext-1", got.GetExternalId())
		require.Equal(t, "2026-03-02", got.GetDateCreated())
		require.Nil(t, got.FinishedAt)
		require.Equal(t, map[string]string{"phone": "5511987654321", "identification_number4": "Z"}, got.GetAttributes())

		// The other instance is in UTC, where it was the first of March.
		elsewhere := f.query(t, &contactsv1.QueryContactsRequest{Instance: "other", Filters: &filters{Identifier: ptr("ana")}})
		require.Len(t, elsewhere.GetContacts(), 1)
		require.Empty(t, elsewhere.GetContacts()[0].GetAttributes())

		// The ends of the calendar are bounds like others, also where they lie in no year that has four digits.
		for _, instance := range []string{"acme", "other"} {
			for _, test := range []struct {
				filters *filters
				some    bool
			}{
				{&filters{StartDate: ptr("0000-01-01")}, true},
				{&filters{EndDate: ptr("9999-12-31")}, true},
				{&filters{StartDate: ptr("9999-12-31"), EndDate: ptr("9999-12-31")}, false},
				{&filters{EndDate: ptr("0000-12-31")}, false},
			} {
				response := f.query(t, &contactsv1.QueryContactsRequest{Instance: instance, Filters: test.filters})
				require.Equal(t, test.some, response.GetResultCount() > 0, "%s %v", instance, test.filters)
			}
		}
	})
}

func TestQueryGivesHistoryOnlyOfNamedPeople(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		one := turn(number, "1")
		one.Attributes = map[string]string{"phone": "1", "cpf": "2"}
		one.Events = []*contactsv1.EventRecord{{Name: "e"}}
		f.record(t, "acme", one)
		both := &contactsv1.ContactFlags{History: true, Events: true}
		for name, test := range map[string]struct {
			request         *contactsv1.QueryContactsRequest
			history, events int
		}{
			"id":                  {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Id: &number}, Flags: both}, 2, 1},
			"identifier":          {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Identifier: ptr("ana")}, Flags: both}, 2, 1},
			"phone":               {&contactsv1.QueryContactsRequest{Attributes: &contactsv1.ContactAttributes{Phone: ptr("1")}, Flags: both}, 2, 1},
			"history only":        {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Id: &number}, Flags: &contactsv1.ContactFlags{History: true}}, 2, 0},
			"events only":         {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Id: &number}, Flags: &contactsv1.ContactFlags{Events: true}}, 0, 1},
			"not asked for":       {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Id: &number}}, 0, 0},
			"cpf is not enough":   {&contactsv1.QueryContactsRequest{Attributes: &contactsv1.ContactAttributes{Cpf: ptr("2")}, Flags: both}, 0, 0},
			"nobody named at all": {&contactsv1.QueryContactsRequest{Flags: both}, 0, 0},
		} {
			test.request.Instance = "acme"
			response := f.query(t, test.request)
			require.Len(t, response.GetContacts(), 1, name)
			require.Len(t, response.GetContacts()[0].GetHistory(), test.history, name)
			require.Len(t, response.GetContacts()[0].GetEvents(), test.events, name)
		}
	})
}

// walkAll follows a query to its end.
func walkAll(t *testing.T, f *fixture, request *contactsv1.QueryContactsRequest, between func(page int)) (seen []int64) {
	t.Helper()
	count := int64(-1)
	for page := 0; ; page++ {
		response := f.query(t, request)
		seen = append(seen, numbers(response)...)
		if count < 0 {
			count = response.GetResultCount()
		}
		require.Equal(t, count, response.GetResultCount(), "the same on every page")
		if response.Pagination == nil {
			break
		}
		require.LessOrEqual(t, len(response.GetPagination()), 1024)
		request.Pagination = response.GetPagination()
		between(page)
	}
	require.Equal(t, count, int64(len(seen)))
	return seen
}

// A walk shows what was there when it began, each once, whatever is written meanwhile.
func TestWalksDuringWrites(t *testing.T) {
	for name, narrow := range map[string]func(*contactsv1.QueryContactsRequest){
		"everything": func(*contactsv1.QueryContactsRequest) {},
		"assistant":  func(r *contactsv1.QueryContactsRequest) { r.Filters.AssistantId = ptr(int64(1)) },
		"source":     func(r *contactsv1.QueryContactsRequest) { r.Filters.Source = ptr("api") },
		"days":       func(r *contactsv1.QueryContactsRequest) { r.Filters.StartDate = ptr("2026-03-01") },
		"identifier": func(r *contactsv1.QueryContactsRequest) { r.Filters.Identifier = ptr("p0") },
		"cpf": func(r *contactsv1.QueryContactsRequest) {
			r.Attributes = &contactsv1.ContactAttributes{Cpf: ptr("111")}
		},
		"cpf with history": func(r *contactsv1.QueryContactsRequest) {
			r.Filters.Identifier = ptr("p1")
			r.Attributes = &contactsv1.ContactAttributes{Cpf: ptr("111")}
			r.Flags = &contactsv1.ContactFlags{History: true, Events: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				for n := range 25 {
					number := f.open(t, "acme", fmt.Sprint("p", n%3), nil).GetAttendanceId()
					one := turn(number, fmt.Sprint(n))
					one.Attributes = map[string]string{"cpf": "111"}
					f.record(t, "acme", one)
				}
				request := &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Limit: ptr(int32(4))}}
				narrow(request)
				want := numbers(f.query(t, &contactsv1.QueryContactsRequest{
					Instance: "acme", Filters: &contactsv1.ContactFilters{
						AssistantId: request.Filters.AssistantId, Source: request.Filters.Source,
						StartDate: request.Filters.StartDate, Identifier: request.Filters.Identifier,
					}, Attributes: request.Attributes,
				}))
				require.True(t, slices.IsSortedFunc(want, func(a, b int64) int { return int(b - a) }), "newest first")

				stop := make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					for n := range 200 {
						select {
						case <-stop:
							return
						default:
						}
						// Not f.open: the walk uses it too.
						opened, err := f.records.OpenAttendance(t.Context(), &contactsv1.OpenAttendanceRequest{
							Instance: "acme", RequestId: fmt.Sprint("meanwhile", n), AssistantId: 1, Identifier: "p0", Source: "api", Time: timestamppb.New(start),
						})
						if err == nil {
							_, _ = f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{
								Instance: "acme", Turns: []*contactsv1.TurnRecord{turn(opened.GetAttendanceId(), fmt.Sprint("meanwhile", n))},
							})
						}
					}
				})
				for range 2 {
					request.Pagination = ""
					before := numbers(f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Limit: ptr(int32(1))}}))[0]
					first := f.query(t, request)
					require.GreaterOrEqual(t, first.GetResultCount(), int64(len(want)))
					seen := walkAll(t, f, request, func(page int) {
						if page == 0 {
							// The persons found are those of the beginning, also when they are not found by this any more.
							last := turn(want[len(want)-1], fmt.Sprint("forget", before))
							last.Attributes = map[string]string{"cpf": "999"}
							f.record(t, "acme", last)
						}
					})
					require.True(t, slices.IsSortedFunc(seen, func(a, b int64) int { return int(b - a) }))
					require.Len(t, slices.Compact(slices.Clone(seen)), len(seen), "none twice")
					require.Subset(t, seen, want)
					back := turn(want[len(want)-1], fmt.Sprint("remember", before))
					back.Attributes = map[string]string{"cpf": "111"}
					f.record(t, "acme", back)
				}
				close(stop)
				wg.Wait()
			})
		})
	}
}

func TestWalkMayChangeItsLimitAndFlags(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for n := range 10 {
			f.record(t, "acme", turn(f.open(t, "acme", "ana", nil).GetAttendanceId(), fmt.Sprint(n)))
		}
		request := &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Identifier: ptr("ana"), Limit: ptr(int32(2))}}
		seen := walkAll(t, f, request, func(page int) {
			request.Filters.Limit = ptr(int32(3 + page))
			request.Flags = &contactsv1.ContactFlags{History: page%2 == 0}
		})
		require.Equal(t, []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, seen)
	})
}

// Pages stay small enough to be sent: one with much history ends early.
func TestPagesWithMuchHistoryEndEarly(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for n := range 5 {
			number := f.open(t, "acme", "ana", nil).GetAttendanceId()
			var turns []*contactsv1.TurnRecord
			for m := range 100 {
				one := turn(number, fmt.Sprint(n, "-", m))
				one.UserText = strings.Repeat("ã", 4500) // 9 KB
				turns = append(turns, one)
			}
			f.record(t, "acme", turns...)
		}
		request := &contactsv1.QueryContactsRequest{
			Instance: "acme", Filters: &contactsv1.ContactFilters{Identifier: ptr("ana")}, Flags: &contactsv1.ContactFlags{History: true},
		}
		first := f.query(t, request)
		require.Equal(t, []int64{5, 4}, numbers(first))
		require.Len(t, first.GetContacts()[0].GetHistory(), 200)
		require.NotNil(t, first.Pagination)
		require.Equal(t, []int64{5, 4, 3, 2, 1}, walkAll(t, f, request, func(int) {}))

		request.Flags, request.Pagination = nil, ""
		require.Len(t, f.query(t, request).GetContacts(), 5)
	})
}

func TestManyPeopleOfOneAttribute(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		const people = 20 // more than a token remembers
		for n := range people {
			one := turn(f.open(t, "acme", fmt.Sprint("p", n), nil).GetAttendanceId(), fmt.Sprint(n))
			one.Attributes = map[string]string{"identification_number": "shared"}
			f.record(t, "acme", one)
			f.open(t, "acme", fmt.Sprint("q", n), nil)
		}
		seen := walkAll(t, f, &contactsv1.QueryContactsRequest{
			Instance: "acme", Filters: &contactsv1.ContactFilters{Limit: ptr(int32(7))},
			Attributes: &contactsv1.ContactAttributes{IdentificationNumber: ptr("shared")},
		}, func(int) {})
		require.Len(t, seen, people)
	})
}

func TestQueryRefusesTokens(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for range 3 {
			f.open(t, "acme", "ana", nil)
			f.open(t, "other", "ana", nil)
		}
		query := func() *contactsv1.QueryContactsRequest {
			return &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{
				Limit: ptr(int32(1)), Identifier: ptr("ana"), Source: ptr("api"), AssistantId: ptr(int64(1)), StartDate: ptr("2026-03-01"), EndDate: ptr("2026-03-02"),
			}}
		}
		token := f.query(t, query()).GetPagination()
		require.NotEmpty(t, token)
		for name, spoil := range map[string]func(*contactsv1.QueryContactsRequest){
			"forged":            func(r *contactsv1.QueryContactsRequest) { r.Pagination = "AAAA" },
			"not even base64":   func(r *contactsv1.QueryContactsRequest) { r.Pagination = "'; --" },
			"cut":               func(r *contactsv1.QueryContactsRequest) { r.Pagination = token[:len(token)-2] },
			"longer":            func(r *contactsv1.QueryContactsRequest) { r.Pagination = token + "A" },
			"changed":           func(r *contactsv1.QueryContactsRequest) { r.Pagination = "B" + token[1:] },
			"another instance":  func(r *contactsv1.QueryContactsRequest) { r.Instance = "other" },
			"without filter":    func(r *contactsv1.QueryContactsRequest) { r.Filters.Source = nil },
			"another source":    func(r *contactsv1.QueryContactsRequest) { r.Filters.Source = ptr("agent") },
			"another person":    func(r *contactsv1.QueryContactsRequest) { r.Filters.Identifier = ptr("bia") },
			"another assistant": func(r *contactsv1.QueryContactsRequest) { r.Filters.AssistantId = ptr(int64(2)) },
			"another day":       func(r *contactsv1.QueryContactsRequest) { r.Filters.EndDate = ptr("2026-03-03") },
			"with id":           func(r *contactsv1.QueryContactsRequest) { r.Filters.Id = ptr(int64(1)) },
			"with external id":  func(r *contactsv1.QueryContactsRequest) { r.Filters.ExternalId = ptr("x") },
			"with attribute":    func(r *contactsv1.QueryContactsRequest) { r.Attributes = &contactsv1.ContactAttributes{Cpf: ptr("1")} },
			"no filters at all": func(r *contactsv1.QueryContactsRequest) { r.Filters = nil },
		} {
			request := query()
			request.Pagination = token
			spoil(request)
			_, err := f.queries.QueryContacts(t.Context(), request)
			require.Error(t, err, name)
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pagination")
		}
		request := query()
		request.Pagination = token
		f.clock.Advance(24*time.Hour - time.Second)
		f.query(t, request)
		f.clock.Advance(time.Second)
		_, err := f.queries.QueryContacts(t.Context(), request)
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "pagination")
	})
}

// The days of a walk are those of its beginning, though the instance moves to another zone in the middle.
func TestWalkKeepsItsDays(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for n := range 4 {
			f.open(t, "acme", "ana", func(r *contactsv1.OpenAttendanceRequest) {
				r.Time = timestamppb.New(time.Date(2026, 3, 1, 3+n, 0, 0, 0, time.UTC)) // from midnight in São Paulo
			})
		}
		seen := walkAll(t, f, &contactsv1.QueryContactsRequest{
			Instance: "acme", Filters: &contactsv1.ContactFilters{Limit: ptr(int32(2)), StartDate: ptr("2026-03-01")},
		}, func(int) { f.zones["acme"] = "America/Los_Angeles" })
		require.Equal(t, []int64{4, 3, 2, 1}, seen)
	})
}

func TestQueryLimits(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		long := strings.Repeat("ã", 256)
		f.open(t, "acme", "ana", nil) // where nothing is, nothing is looked for
		for name, test := range map[string]struct {
			request *contactsv1.QueryContactsRequest
			fields  []string
		}{
			"limit 1":             {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Limit: ptr(int32(1))}}, nil},
			"limit 0":             {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Limit: ptr(int32(0))}}, []string{"filters.limit"}},
			"limit 500":           {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Limit: ptr(int32(500))}}, nil},
			"limit 501":           {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Limit: ptr(int32(501))}}, []string{"filters.limit"}},
			"id 0":                {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Id: ptr(int64(0))}}, []string{"filters.id"}},
			"greatest id":         {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Id: ptr(int64(1<<63 - 1))}}, nil},
			"identifier of 256":   {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Identifier: &long}}, nil},
			"identifier of 257":   {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Identifier: ptr(long + "a")}}, []string{"filters.identifier"}},
			"identifier with NUL": {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{Identifier: ptr("a\x00")}}, []string{"filters.identifier"}},
			"email of 256":        {&contactsv1.QueryContactsRequest{Attributes: &contactsv1.ContactAttributes{Email: &long}}, nil},
			"email of 257":        {&contactsv1.QueryContactsRequest{Attributes: &contactsv1.ContactAttributes{Email: ptr(long + "a")}}, []string{"attributes.email"}},
			"first year":          {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{StartDate: ptr("0001-01-01")}}, nil},
			"last year":           {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{EndDate: ptr("9999-12-31")}}, nil},
			"no such day":         {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{StartDate: ptr("2026-02-29")}}, []string{"filters.startDate"}},
			"no day":              {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{EndDate: ptr("tomorrow")}}, []string{"filters.endDate"}},
			"empty day":           {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{EndDate: ptr("")}}, []string{"filters.endDate"}},
			"days turned round":   {&contactsv1.QueryContactsRequest{Filters: &contactsv1.ContactFilters{StartDate: ptr("2026-03-02"), EndDate: ptr("2026-03-01")}}, []string{"filters.endDate"}},
			"all of it": {&contactsv1.QueryContactsRequest{
				Filters: &contactsv1.ContactFilters{StartDate: ptr("2026-02-30"), EndDate: ptr("2026-04-31")}, Pagination: "z",
			}, []string{"filters.startDate", "filters.endDate", "pagination"}},
		} {
			test.request.Instance = "acme"
			_, err := f.queries.QueryContacts(t.Context(), test.request)
			if test.fields == nil {
				require.NoError(t, err, name)
				continue
			}
			require.Error(t, err, name)
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", test.fields...)
		}
	})
}

// What the contract's rules cannot say is known before the handler runs, so that one answer can name it with what they say.
func TestCheckRequest(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"})
		checker, ok := f.server.(interface {
			CheckRequest(ctx context.Context, request any) []rpcerr.Violation
		})
		require.True(t, ok)
		require.Empty(t, checker.CheckRequest(t.Context(), &contactsv1.QueryContactsRequest{Instance: "acme"}))
		require.Empty(t, checker.CheckRequest(t.Context(), &contactsv1.RecordTurnsRequest{}))
		var fields []string
		for _, v := range checker.CheckRequest(t.Context(), &contactsv1.QueryContactsRequest{
			Filters: &contactsv1.ContactFilters{StartDate: ptr("2026-02-30"), EndDate: ptr("x"), Limit: ptr(int32(-1))}, Pagination: "z",
		}) {
			fields = append(fields, v.Field)
		}
		require.Equal(t, []string{"filters.startDate", "filters.endDate", "pagination"}, fields)
	})
}

func TestDefaultLimit(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for range 101 {
			f.open(t, "acme", "ana", nil)
		}
		first := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"})
		require.Len(t, first.GetContacts(), 100)
		require.Equal(t, int64(101), first.GetResultCount())
		last := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme", Pagination: first.GetPagination()})
		require.Equal(t, []int64{1}, numbers(last))
		require.Nil(t, last.Pagination)
		exact := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Limit: ptr(int32(101))}})
		require.Nil(t, exact.Pagination, "a full last page has no next one")
	})
}

func TestUnknownInstanceLooksLikeAWrongKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		_, err := f.queries.QueryContacts(t.Context(), &contactsv1.QueryContactsRequest{Instance: "nobody"})
		requireFailure(t, err, codes.Unauthenticated, "API_KEY_INVALID")
		empty := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"})
		require.Empty(t, empty.GetContacts())
		require.Zero(t, empty.GetResultCount())
		require.Nil(t, empty.Pagination)
	})
}

func TestClosedStore(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		require.NoError(t, f.service.Ready(t.Context()))
		var workers []string
		for _, worker := range f.service.Workers() {
			workers = append(workers, worker.Name())
		}
		require.Equal(t, []string{"contacts-scrubber", "contacts-retention"}, workers)
		require.NoError(t, f.db.Close())
		require.Error(t, f.service.Ready(t.Context()))
		_, err := f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{Instance: "acme", Turns: []*contactsv1.TurnRecord{turn(1, "1")}})
		requireFailure(t, err, codes.Unavailable, "UNAVAILABLE")
		_, err = f.queries.QueryContacts(t.Context(), &contactsv1.QueryContactsRequest{Instance: "acme"})
		require.Error(t, err)
	})
}

package contacts_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
)

type imported = contactsv1.ImportedAttendance

// moved is an attendance of another system.
func moved(n int, change func(*imported)) *imported {
	a := &imported{
		ExternalId: fmt.Sprint("ext-", n), Identifier: "ana", AssistantId: 3, Source: "widget",
		CreateTime: timestamppb.New(start.Add(-48 * time.Hour)),
	}
	if change != nil {
		change(a)
	}
	return a
}

func words(text string) []*messagev1.Message {
	return []*messagev1.Message{{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}}}}
}

func (f *fixture) importAll(t *testing.T, instance string, list ...*imported) []*contactsv1.ImportedAttendanceResult {
	t.Helper()
	response, err := f.imports.ImportAttendances(t.Context(), &contactsv1.ImportAttendancesRequest{Instance: instance, Attendances: list})
	require.NoError(t, err)
	require.Len(t, response.GetAttendances(), len(list))
	return response.GetAttendances()
}

func TestImportedAttendanceIsFound(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.open(t, "acme", "live", nil)
		at := func(minutes int) *timestamppb.Timestamp {
			return timestamppb.New(start.Add(-48*time.Hour + time.Duration(minutes)*time.Minute))
		}
		result := f.importAll(t, "acme", moved(1, func(a *imported) {
			a.Attributes = map[string]string{"cpf": "123.456.789-09", "name": "Ana", "email": ""}
			a.History = []*contactsv1.ImportedHistoryItem{
				{Time: at(2), Sender: "user", Messages: words("A"), Postback: "index0"},
				{Time: at(1), Sender: "bot", Messages: append(words("Olá"), words("Qual?")...)},
				{Time: at(3), Sender: "human", Messages: words("Sou a Bia")},
				{Time: at(4), Sender: "user", Postback: "index1"},
			}
			a.Events = []*contactsv1.ImportedEvent{
				{Time: at(6), EventName: "encerramento"},
				{Time: at(5), EventName: "transbordo", ExternalId: ptr("ev-1"), Extra1: ptr("um"), Details: map[string]string{"skill": "geral"}},
			}
		}))[0]
		require.True(t, result.GetCreated())
		require.Equal(t, "ext-1", result.GetExternalId())
		require.EqualValues(t, 2, result.GetId())

		got := f.query(t, &contactsv1.QueryContactsRequest{
			Instance: "acme", Attributes: &contactsv1.ContactAttributes{Cpf: ptr("12345678909")},
			Filters: &contactsv1.ContactFilters{Identifier: ptr("ana"), ExternalId: ptr("ext-1"), Source: ptr("widget")},
			Flags:   &contactsv1.ContactFlags{History: true, Events: true},
		})
		require.EqualValues(t, 1, got.GetResultCount())
		text := func(words string, minutes int, origin messagev1.Origin) *messagev1.Message {
			m := &messagev1.Message{Origin: origin, Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: words}}}
			m.CreateTime = timestamppb.New(at(minutes).AsTime().Truncate(time.Millisecond))
			return m
		}
		millisecond := func(minutes int) *timestamppb.Timestamp {
			return timestamppb.New(at(minutes).AsTime().Truncate(time.Millisecond))
		}
		want := &contactsv1.Attendance{
			Id: 2, Identifier: "ana", AssistantId: 3, Source: "widget", ExternalId: ptr("ext-1"), Interactions: 2,
			DateCreated: "2026-02-27", FinishedAt: ptr("2026-02-27"), Attributes: map[string]string{"cpf": "123.456.789-09", "name": "Ana"},
			InteractionId: result.GetInteractionId(), ContactId: result.GetContactId(),
			History: []*contactsv1.HistoryItem{
				{Time: millisecond(1), Sender: "bot", Messages: []*messagev1.Message{text("Olá", 1, messagev1.Origin_ORIGIN_BOT), text("Qual?", 1, messagev1.Origin_ORIGIN_BOT)}},
				{Time: millisecond(2), Sender: "user", Messages: []*messagev1.Message{text("A", 2, 0)}, Postback: "index0"},
				{Time: millisecond(3), Sender: "human", Messages: []*messagev1.Message{text("Sou a Bia", 3, messagev1.Origin_ORIGIN_HUMAN)}},
				{Time: millisecond(4), Sender: "user", Postback: "index1"},
			},
			Events: []*contactsv1.Event{
				{Id: 1, AssistantId: 3, AttendanceId: 2, ExternalId: ptr("ev-1"), EventName: "transbordo", EventId: 2, Extra1: ptr("um"), Details: map[string]string{"skill": "geral"}, Time: millisecond(5), Source: "widget", Date: "2026-02-27 09:05:00"},
				{Id: 2, AssistantId: 3, AttendanceId: 2, EventName: "encerramento", EventId: 1, Time: millisecond(6), Source: "widget", Date: "2026-02-27 09:06:00"},
			},
		}
		require.True(t, proto.Equal(want, got.GetContacts()[0]), "%v\n%v", want, got.GetContacts()[0])

		events := f.events(t, &contactsv1.QueryEventsRequest{Instance: "acme", Filters: &eventFilters{ExternalId: ptr("ev-1")}})
		require.Equal(t, []int64{1}, eventNumbers(events))
		require.Equal(t, "widget", events.GetEvents()[0].GetSource())
	})
}

func TestImportedAttendanceIsOver(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		day := func(n int) *timestamppb.Timestamp {
			return timestamppb.New(start.Add(time.Duration(n) * 24 * time.Hour))
		}
		finished := func(number int64) string {
			return f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Id: &number}}).GetContacts()[0].GetFinishedAt()
		}
		results := f.importAll(t, "acme",
			moved(1, func(a *imported) { a.CreateTime = day(0) }),
			moved(2, func(a *imported) {
				a.CreateTime = day(0)
				a.History = []*contactsv1.ImportedHistoryItem{{Time: day(1), Sender: "bot", Messages: words("x")}}
			}),
			moved(3, func(a *imported) {
				a.CreateTime = day(0)
				a.History = []*contactsv1.ImportedHistoryItem{{Time: day(1), Sender: "bot", Messages: words("x")}}
				a.Events = []*contactsv1.ImportedEvent{{Time: day(2), EventName: "e"}}
			}),
			moved(4, func(a *imported) {
				a.CreateTime, a.FinishTime = day(0), day(3)
				a.Events = []*contactsv1.ImportedEvent{{Time: day(2), EventName: "e"}}
			}),
			moved(5, func(a *imported) { a.CreateTime, a.FinishTime = day(0), day(0) }),
		)
		for n, want := range []string{"2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04", "2026-03-01"} {
			require.Equal(t, want, finished(results[n].GetId()))
		}
		// The person's next message opens another one, and the person is known.
		opened := f.open(t, "acme", "ana", nil)
		require.Equal(t, results[0].GetContactId(), opened.GetContactId())
		require.EqualValues(t, 6, opened.GetAttendanceId())
	})
}

func TestImportIsRepeated(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		var list []*imported
		for n := range 1000 {
			list = append(list, moved(n, func(a *imported) {
				a.Identifier = fmt.Sprint("p", n%100)
				a.History = []*contactsv1.ImportedHistoryItem{{Time: a.GetCreateTime(), Sender: "user", Messages: words("oi")}}
			}))
		}
		writes := f.db.Stats().Writes
		first := f.importAll(t, "acme", list[:500]...)
		require.EqualValues(t, 10, f.db.Stats().Writes-writes, "50 a transaction")
		second := f.importAll(t, "acme", list...)
		for n, a := range second {
			require.Equal(t, n >= 500, a.GetCreated())
			require.EqualValues(t, n+1, a.GetId(), "in the order of the list")
			if n < 500 {
				require.Equal(t, first[n].GetInteractionId(), a.GetInteractionId())
				require.Equal(t, first[n].GetContactId(), a.GetContactId())
			}
		}
		require.EqualValues(t, 1000, f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"}).GetResultCount())
		require.EqualValues(t, 10, f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Identifier: ptr("p7")}}).GetResultCount())
		families, err := testutil.GatherAndCount(f.metrics, "prosa_contacts_attendances_imported_total")
		require.NoError(t, err)
		require.Equal(t, 2, families)

		_, err = f.imports.ImportAttendances(t.Context(), &contactsv1.ImportAttendancesRequest{Instance: "acme", Attendances: append(list, moved(1000, nil))})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "attendances")
		_, err = f.imports.ImportAttendances(t.Context(), &contactsv1.ImportAttendancesRequest{Instance: "acme"})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "attendances")
		_, err = f.imports.ImportAttendances(t.Context(), &contactsv1.ImportAttendancesRequest{Instance: "nobody", Attendances: list[:1]})
		requireFailure(t, err, codes.NotFound, "INSTANCE_NOT_FOUND")
	})
}

// A walk that began before an import does not see it.
func TestImportDuringAWalk(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for n := range 5 {
			f.importAll(t, "acme", moved(n, nil))
		}
		request := &contactsv1.QueryContactsRequest{Instance: "acme", Filters: &contactsv1.ContactFilters{Limit: ptr(int32(2)), Source: ptr("widget"), EndDate: ptr("2026-03-01")}}
		seen := walkAll(t, f, request, func(page int) { f.importAll(t, "acme", moved(10+page, nil)) })
		require.Equal(t, []int64{5, 4, 3, 2, 1}, seen)
	})
}

func TestImportLimits(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		long := strings.Repeat("ã", 256)
		now := timestamppb.New(start)
		repeat := func(n int) (m map[string]string) {
			m = make(map[string]string)
			for i := range n {
				m[fmt.Sprint("n", i)] = "v"
			}
			return m
		}
		says := func(sender string) *contactsv1.ImportedHistoryItem {
			return &contactsv1.ImportedHistoryItem{Time: now, Sender: sender, Messages: words("oi")}
		}
		big := func(bytes int) []*contactsv1.ImportedHistoryItem {
			one := says("bot")
			one.Messages = nil
			for bytes > proto.Size(one)+9_100 {
				one.Messages = append(one.Messages, words(strings.Repeat("x", 9_000))...)
			}
			one.Messages = append(one.Messages, words("x")...)
			rest := bytes - proto.Size(one)
			// A longer text has a longer length before it, three times.
			for ; proto.Size(one) != bytes; rest-- {
				one.Messages[len(one.Messages)-1] = words(strings.Repeat("x", 1+rest))[0]
			}
			return []*contactsv1.ImportedHistoryItem{one}
		}
		for name, test := range map[string]struct {
			change func(*imported)
			fields []string
		}{
			"externalId of 256":   {func(a *imported) { a.ExternalId = long }, nil},
			"externalId of 257":   {func(a *imported) { a.ExternalId = long + "a" }, []string{"externalId"}},
			"no externalId":       {func(a *imported) { a.ExternalId = "" }, []string{"externalId"}},
			"identifier of 256":   {func(a *imported) { a.Identifier = long }, nil},
			"identifier of 257":   {func(a *imported) { a.Identifier = long + "a" }, []string{"identifier"}},
			"identifier with NUL": {func(a *imported) { a.Identifier = "a\x00" }, []string{"identifier"}},
			"assistantId 0":       {func(a *imported) { a.AssistantId = 0 }, []string{"assistantId"}},
			"source of 64":        {func(a *imported) { a.Source = strings.Repeat("s", 64) }, nil},
			"source of 65":        {func(a *imported) { a.Source = strings.Repeat("s", 65) }, []string{"source"}},
			"no time":             {func(a *imported) { a.CreateTime = nil }, []string{"createTime"}},
			"time of no year":     {func(a *imported) { a.CreateTime = &timestamppb.Timestamp{Seconds: -1 << 60} }, []string{"createTime"}},
			"time of none":        {func(a *imported) { a.CreateTime = timestamppb.New(time.Time{}) }, []string{"createTime"}},
			"the first time":      {func(a *imported) { a.CreateTime = timestamppb.New(time.Time{}.Add(time.Microsecond)) }, nil},
			"finished before":     {func(a *imported) { a.FinishTime = timestamppb.New(a.GetCreateTime().AsTime().Add(-1)) }, []string{"finishTime"}},
			"finished at once":    {func(a *imported) { a.FinishTime = a.GetCreateTime() }, nil},
			"500 attributes":      {func(a *imported) { a.Attributes = repeat(500) }, nil},
			"501 attributes":      {func(a *imported) { a.Attributes = repeat(501) }, []string{"attributes"}},
			"attribute name":      {func(a *imported) { a.Attributes = map[string]string{"": "x"} }, []string{`attributes[""]`}},
			"long attribute":      {func(a *imported) { a.Attributes = map[string]string{"n": strings.Repeat("ã", 10_000)} }, nil},
			"too long attribute":  {func(a *imported) { a.Attributes = map[string]string{"n": strings.Repeat("ã", 10_001)} }, []string{`attributes["n"]`}},
			"sender":              {func(a *imported) { a.History = []*contactsv1.ImportedHistoryItem{says("user"), says("robot")} }, []string{"history[1].sender"}},
			"silent item":         {func(a *imported) { a.History = []*contactsv1.ImportedHistoryItem{{Time: now, Sender: "user"}} }, []string{"history[0].messages"}},
			"postback of a bot": {func(a *imported) {
				a.History = []*contactsv1.ImportedHistoryItem{{Time: now, Sender: "bot", Postback: "p"}}
			}, []string{"history[0].postback"}},
			"item without time": {func(a *imported) {
				a.History = []*contactsv1.ImportedHistoryItem{{Sender: "user", Messages: words("x")}}
			}, []string{"history[0].time"}},
			"message without text": {func(a *imported) {
				a.History = []*contactsv1.ImportedHistoryItem{{Time: now, Sender: "user", Messages: words("")}}
			}, []string{"history[0].messages[0].text.text"}},
			"history of 1 MiB": {func(a *imported) { a.History = big(1 << 20) }, nil},
			"one byte more":    {func(a *imported) { a.History = big(1<<20 + 1) }, []string{"history"}},
			"event name of 128": {func(a *imported) {
				a.Events = []*contactsv1.ImportedEvent{{Time: now, EventName: strings.Repeat("ã", 128)}}
			}, nil},
			"event name of 129": {func(a *imported) {
				a.Events = []*contactsv1.ImportedEvent{{Time: now, EventName: strings.Repeat("ã", 129)}}
			}, []string{"events[0].eventName"}},
			"event without time": {func(a *imported) { a.Events = []*contactsv1.ImportedEvent{{EventName: "e"}} }, []string{"events[0].time"}},
			"extra of 1024": {func(a *imported) {
				a.Events = []*contactsv1.ImportedEvent{{Time: now, EventName: "e", Extra1: ptr(strings.Repeat("ã", 1024)), Extra2: ptr("")}}
			}, nil},
			"extra of 1025": {func(a *imported) {
				a.Events = []*contactsv1.ImportedEvent{{Time: now, EventName: "e", Extra2: ptr(strings.Repeat("ã", 1025))}}
			}, []string{"events[0].extra2"}},
			"100 details": {func(a *imported) {
				a.Events = []*contactsv1.ImportedEvent{{Time: now, EventName: "e", Details: repeat(100)}}
			}, nil},
			"101 details": {func(a *imported) {
				a.Events = []*contactsv1.ImportedEvent{{Time: now, EventName: "e", Details: repeat(101)}}
			}, []string{"events[0].details"}},
		} {
			one := moved(0, func(a *imported) { a.ExternalId = "limit " + name; test.change(a) })
			_, err := f.imports.ImportAttendances(t.Context(), &contactsv1.ImportAttendancesRequest{
				Instance: "acme", Attendances: []*imported{moved(1, nil), one},
			})
			if test.fields == nil {
				require.NoError(t, err, name)
				continue
			}
			require.Error(t, err, name)
			for n := range test.fields {
				test.fields[n] = "attendances[1]." + test.fields[n]
			}
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", test.fields...)
		}
		require.EqualValues(t, 12, f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"}).GetResultCount(),
			"of a request with a fault nothing is stored, of the others each once")
	})
}

func TestImportFaultsComeTogether(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		silent := func(a *imported) {
			a.History = []*contactsv1.ImportedHistoryItem{{Time: timestamppb.New(start), Sender: "user"}}
		}
		_, err := f.imports.ImportAttendances(t.Context(), &contactsv1.ImportAttendancesRequest{Instance: "acme", Attendances: []*imported{
			moved(1, silent), moved(2, nil), moved(1, func(a *imported) {
				a.FinishTime = timestamppb.New(time.Unix(0, 0))
				a.Events = []*contactsv1.ImportedEvent{{EventName: "e", Time: &timestamppb.Timestamp{Nanos: -1}}}
			}),
		}})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "attendances[0].history[0].messages",
			"attendances[2].externalId", "attendances[2].finishTime", "attendances[2].events[0].time")

		var list []*imported
		for n := range 200 {
			list = append(list, moved(n, silent))
		}
		_, err = f.imports.ImportAttendances(t.Context(), &contactsv1.ImportAttendancesRequest{Instance: "acme", Attendances: list})
		var fields []string
		for n := range 100 {
			fields = append(fields, fmt.Sprintf("attendances[%d].history[0].messages", n))
		}
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", fields...)
		require.Zero(t, f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"}).GetResultCount())
	})
}

package contacts_test

import (
	"fmt"
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
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/internal/id"
)

func TestOpenAttendance(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		first := f.open(t, "acme", "ana", nil)
		require.Equal(t, int64(1), first.GetAttendanceId())
		require.True(t, id.Valid(first.GetInteractionId()))
		require.True(t, id.Valid(first.GetContactId()))
		require.Empty(t, first.GetAttributes())

		learned := turn(1, "1")
		learned.Attributes = map[string]string{"name": "Ana", "cpf": "123"}
		f.record(t, "acme", learned)
		second := f.open(t, "acme", "ana", nil)
		require.Equal(t, first.GetContactId(), second.GetContactId())
		require.NotEqual(t, first.GetInteractionId(), second.GetInteractionId())
		require.Equal(t, map[string]string{"name": "Ana", "cpf": "123"}, second.GetAttributes())

		again := f.open(t, "acme", "ana", func(r *contactsv1.OpenAttendanceRequest) { r.RequestId = "request-1" })
		require.Equal(t, first.GetAttendanceId(), again.GetAttendanceId())
		require.Equal(t, first.GetInteractionId(), again.GetInteractionId())

		// Who opens it may have chosen its identifier; the first call decides.
		const chosen = "64a1b2c3d4e5f6a7b8c9d0e1"
		for _, given := range []string{chosen, "64a1b2c3d4e5f6a7b8c9d0e2", ""} {
			named := f.open(t, "acme", "ana", func(r *contactsv1.OpenAttendanceRequest) { r.RequestId, r.InteractionId = chosen, given })
			require.Equal(t, chosen, named.GetInteractionId())
			require.Equal(t, int64(3), named.GetAttendanceId())
		}

		// The same person's name in another instance is another person, and counts from 1.
		other := f.open(t, "other", "ana", func(r *contactsv1.OpenAttendanceRequest) { r.RequestId = "request-1" })
		require.Equal(t, int64(1), other.GetAttendanceId())
		require.NotEqual(t, first.GetContactId(), other.GetContactId())
		require.Empty(t, other.GetAttributes())
	})
}

func TestOpenAttendanceLimits(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		good := func() *contactsv1.OpenAttendanceRequest {
			return &contactsv1.OpenAttendanceRequest{
				Instance: "acme", RequestId: strings.Repeat("r", 64), AssistantId: 1, Identifier: strings.Repeat("ã", 256),
				Source: strings.Repeat("s", 64), Time: timestamppb.New(start),
			}
		}
		_, err := f.records.OpenAttendance(t.Context(), good())
		require.NoError(t, err)
		for field, spoil := range map[string]func(*contactsv1.OpenAttendanceRequest){
			"requestId":   func(r *contactsv1.OpenAttendanceRequest) { r.RequestId += "r" },
			"identifier":  func(r *contactsv1.OpenAttendanceRequest) { r.Identifier += "a" },
			"source":      func(r *contactsv1.OpenAttendanceRequest) { r.Source += "s" },
			"assistantId": func(r *contactsv1.OpenAttendanceRequest) { r.AssistantId = 0 },
			"time":        func(r *contactsv1.OpenAttendanceRequest) { r.Time = nil },
		} {
			request := good()
			spoil(request)
			_, err := f.records.OpenAttendance(t.Context(), request)
			requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", field)
		}
		request := good()
		request.Identifier = "a\x00b"
		_, err = f.records.OpenAttendance(t.Context(), request)
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "identifier")
	})
}

func TestRecordedTurnIsGivenBack(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		menu := &messagev1.Message{
			Msgid: "0123456789abcdef01234567", Origin: messagev1.Origin_ORIGIN_BOT, CreateTime: timestamppb.New(start),
			Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
				Text: "Qual?", Options: []*messagev1.Option{{Label: "A", Value: "index0"}},
			}},
		}
		human := said("Sou a Bia")
		human.Origin = messagev1.Origin_ORIGIN_HUMAN
		first := turn(number, "1")
		first.Answer = []*messagev1.Message{said("Olá"), menu, human, said("De volta")}
		picked := turn(number, "2")
		picked.UserText, picked.UserPostback, picked.Answer = "A", "index0", nil
		picked.Events = []*contactsv1.EventRecord{{Name: "transbordo", Details: map[string]string{"cpf": "12345678909"}}, {Name: "fim"}}
		silent := turn(number, "3")
		silent.UserText, silent.Answer, silent.Finished = "", nil, true
		silent.AnswerTime = timestamppb.New(start.Add(15 * time.Hour)) // another day in UTC, not in São Paulo
		f.record(t, "acme", first, picked, silent)

		response := f.query(t, &contactsv1.QueryContactsRequest{
			Instance: "acme", Filters: &contactsv1.ContactFilters{Id: &number}, Flags: &contactsv1.ContactFlags{History: true, Events: true},
		})
		require.Equal(t, int64(1), response.GetResultCount())
		require.Nil(t, response.Pagination)
		got := response.GetContacts()[0]
		require.Equal(t, int64(2), got.GetInteractions(), "the person said something twice")
		require.Equal(t, "2026-03-01", got.GetDateCreated())
		require.Equal(t, "2026-03-02", got.GetFinishedAt())

		millisecond := start.Truncate(time.Millisecond)
		at, answered := timestamppb.New(millisecond), timestamppb.New(millisecond.Add(time.Second))
		text := func(s string) []*messagev1.Message {
			return []*messagev1.Message{{CreateTime: at, Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: s}}}}
		}
		want := &contactsv1.Attendance{
			History: []*contactsv1.HistoryItem{
				{Time: at, Sender: "user", Messages: text("user 1")},
				{Time: answered, Sender: "bot", Messages: []*messagev1.Message{said("Olá"), menu}},
				{Time: answered, Sender: "human", Messages: []*messagev1.Message{human}},
				{Time: answered, Sender: "bot", Messages: []*messagev1.Message{said("De volta")}},
				{Time: at, Sender: "user", Messages: text("A"), Postback: "index0"},
			},
			Events: []*contactsv1.Event{
				{Id: 1, AssistantId: 1, AttendanceId: number, EventName: "transbordo", EventId: 2, Details: map[string]string{"cpf": "12345678909"}, Time: answered, Source: "api", Date: "2026-03-01 09:00:01"},
				{Id: 2, AssistantId: 1, AttendanceId: number, EventName: "fim", EventId: 1, Time: answered, Source: "api", Date: "2026-03-01 09:00:01"},
			},
		}
		have := &contactsv1.Attendance{History: got.GetHistory(), Events: got.GetEvents()}
		require.True(t, proto.Equal(want, have), "want %v\ngot  %v", want, have)
	})
}

// What was erased is named, and holds up nothing else.
func TestRecordTurnsOfNoAttendance(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		response, err := f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{
			Instance: "acme", Turns: []*contactsv1.TurnRecord{turn(number+1, "2"), turn(number, "1"), turn(number+1, "3")},
		})
		require.NoError(t, err)
		require.Equal(t, []int64{number + 1}, response.GetUnknownAttendanceIds())
		response, err = f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{
			Instance: "other", Turns: []*contactsv1.TurnRecord{turn(number, "4")},
		})
		require.NoError(t, err)
		require.Equal(t, []int64{number}, response.GetUnknownAttendanceIds())
		got := f.query(t, &contactsv1.QueryContactsRequest{Instance: "acme"}).GetContacts()
		require.Len(t, got, 1)
		require.EqualValues(t, 1, got[0].GetInteractions())
		require.NoError(t, testutil.GatherAndCompare(f.metrics, strings.NewReader(`
			# HELP prosa_contacts_turns_total Turns that were handed over, by result: new and repeated are on disk, unknown are of no attendance.
			# TYPE prosa_contacts_turns_total counter
			prosa_contacts_turns_total{result="new"} 1
			prosa_contacts_turns_total{result="repeated"} 0
			prosa_contacts_turns_total{result="unknown"} 3
		`), "prosa_contacts_turns_total"))
	})
}

// What a human agent says is theirs in the history, and no interaction of the person.
func TestWordsOfHumans(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		reply := turn(number, "2")
		reply.UserText, reply.AnsweredByHuman = "", true
		f.record(t, "acme", turn(number, "1"), reply)
		got := f.query(t, &contactsv1.QueryContactsRequest{
			Instance: "acme", Filters: &contactsv1.ContactFilters{Id: &number}, Flags: &contactsv1.ContactFlags{History: true},
		}).GetContacts()[0]
		require.EqualValues(t, 1, got.GetInteractions())
		var senders []string
		for _, item := range got.GetHistory() {
			senders = append(senders, item.GetSender())
		}
		require.Equal(t, []string{"user", "bot", "human"}, senders)
	})
}

// A caller that had no answer hands its turns over again, perhaps while the first call still runs.
func TestRecordTurnsAgainAndAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		var batch []*contactsv1.TurnRecord
		for n := range 20 {
			one := turn(number, fmt.Sprint(n))
			one.Events = []*contactsv1.EventRecord{{Name: "e"}}
			batch = append(batch, one)
		}
		const callers = 10
		errs := make([]error, callers)
		var wg sync.WaitGroup
		for n := range callers {
			wg.Go(func() {
				_, errs[n] = f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{Instance: "acme", Turns: batch[:10+n]})
			})
		}
		wg.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		f.record(t, "acme", batch...)
		got := f.query(t, &contactsv1.QueryContactsRequest{
			Instance: "acme", Filters: &contactsv1.ContactFilters{Identifier: ptr("ana")}, Flags: &contactsv1.ContactFlags{History: true, Events: true},
		}).GetContacts()[0]
		require.Equal(t, int64(20), got.GetInteractions())
		require.Len(t, got.GetHistory(), 40)
		require.Len(t, got.GetEvents(), 20)
		for n := range 20 {
			require.Equal(t, fmt.Sprint("user ", n), got.GetHistory()[2*n].GetMessages()[0].GetText().GetText(), "in order")
		}
		require.Equal(t, 3, testutil.CollectAndCount(f.metrics, "prosa_contacts_turns_total"))
	})
}

func TestRecordTurnsOneWrite(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		var batch []*contactsv1.TurnRecord
		for n := range 500 {
			one := turn(number, fmt.Sprint(n))
			one.Attributes = map[string]string{"n": fmt.Sprint(n)}
			batch = append(batch, one)
		}
		before := f.db.Stats()
		f.record(t, "acme", batch...)
		require.Equal(t, before.Writes+1, f.db.Stats().Writes)
		require.Equal(t, before.Commits+1, f.db.Stats().Commits)

		_, err := f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{Instance: "acme", Turns: append(batch, turn(number, "501"))})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "turns")
		_, err = f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{Instance: "acme"})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "turns")
	})
}

// What a person writes may hold anything; it must not keep the turn from being stored.
func TestRecordTurnsWithOddTexts(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		number := f.open(t, "acme", "ana", nil).GetAttendanceId()
		odd := turn(number, "1")
		odd.UserText = "a\x00b\u202e\r\n"
		odd.Attributes = map[string]string{"name": "A\x00na", "email": strings.Repeat("x", 10_000), strings.Repeat("ã", 256): "long"}
		odd.Events = []*contactsv1.EventRecord{{Name: "e\x00", Details: map[string]string{"k\x00": "v\x00"}}}
		f.record(t, "acme", odd)
		got := f.query(t, &contactsv1.QueryContactsRequest{
			Instance: "acme", Filters: &contactsv1.ContactFilters{Id: &number}, Flags: &contactsv1.ContactFlags{History: true, Events: true},
		}).GetContacts()[0]
		require.Equal(t, "Ana", got.GetAttributes()["name"])
		require.Equal(t, odd.GetUserText(), got.GetHistory()[0].GetMessages()[0].GetText().GetText())
		require.Equal(t, "e", got.GetEvents()[0].GetEventName())
		require.Equal(t, map[string]string{"k\x00": "v\x00"}, got.GetEvents()[0].GetDetails())

		bad := turn(number, "2")
		bad.Attributes = map[string]string{strings.Repeat("ã", 257): "x"}
		_, err := f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{Instance: "acme", Turns: []*contactsv1.TurnRecord{turn(number, "3"), bad}})
		requireFailure(t, err, codes.InvalidArgument, "REQUEST_INVALID", "turns[1].attributes")
	})
}

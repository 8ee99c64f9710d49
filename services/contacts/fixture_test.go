package contacts_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/contacts"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
	"github.com/prosa-chat/prosa/services/internal/validate"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// fixture is a service behind the validation that the chain does.
type fixture struct {
	db      *sqldb.DB
	clock   *clock.Manual
	zones   map[string]string // time zones of the instances there are
	metrics *prometheus.Registry
	service *contacts.Service
	records contactsv1.RecordServiceClient
	queries contactsv1.ContactsServiceClient
	imports contactsv1.AttendanceServiceClient
	opened  int
	server  any // what served the last query
}

// Get makes the fixture the service's instances.
func (f *fixture) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	zone, ok := f.zones[slug]
	if !ok {
		return nil, rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance")
	}
	return &accountsv1.Instance{Slug: slug, TimeZone: zone}, nil
}

func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngine(t, contacts.Migrations(), "contacts", func(t *testing.T, db *sqldb.DB) {
		test(t, newFixture(t, db))
	})
}

func newFixture(t *testing.T, db *sqldb.DB) *fixture {
	t.Helper()
	box, err := secretbox.New(strings.Repeat("s", secretbox.MinKeyLength))
	require.NoError(t, err)
	f := &fixture{
		db: db, clock: clock.NewManual(start), metrics: prometheus.NewRegistry(),
		zones: map[string]string{"acme": "America/Sao_Paulo", "other": "UTC"},
	}
	f.service, err = contacts.New(contacts.Config{}, contacts.Deps{
		DB: db, Clock: f.clock, IDs: id.NewSource(f.clock, nil), Box: box, Instances: f, Metrics: f.metrics,
	})
	require.NoError(t, err)
	channel := (&inprocgrpc.Channel{}).WithServerUnaryInterceptor(
		func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if err := validate.Request(request); err != nil {
				return nil, err
			}
			if info.FullMethod == contactsv1.ContactsService_QueryContacts_FullMethodName {
				f.server = info.Server
			}
			return handler(ctx, request)
		})
	f.service.Register(channel)
	f.records = contactsv1.NewRecordServiceClient(channel)
	f.queries = contactsv1.NewContactsServiceClient(channel)
	f.imports = contactsv1.NewAttendanceServiceClient(channel)
	return f
}

// open opens an attendance as the agent service does; change may be nil.
func (f *fixture) open(t *testing.T, instance, identifier string, change func(*contactsv1.OpenAttendanceRequest)) *contactsv1.OpenAttendanceResponse {
	t.Helper()
	f.opened++
	request := &contactsv1.OpenAttendanceRequest{
		Instance: instance, RequestId: fmt.Sprint("request-", f.opened), AssistantId: 1, Identifier: identifier, Source: "api",
		Time: timestamppb.New(start),
	}
	if change != nil {
		change(request)
	}
	response, err := f.records.OpenAttendance(t.Context(), request)
	require.NoError(t, err)
	return response
}

func (f *fixture) record(t *testing.T, instance string, turns ...*contactsv1.TurnRecord) {
	t.Helper()
	_, err := f.records.RecordTurns(t.Context(), &contactsv1.RecordTurnsRequest{Instance: instance, Turns: turns})
	require.NoError(t, err)
}

// turn is a finished turn in which each side said something.
func turn(number int64, name string) *contactsv1.TurnRecord {
	return &contactsv1.TurnRecord{
		TurnId: "turn-" + name, AttendanceId: number,
		UserTime: timestamppb.New(start), UserText: "user " + name,
		AnswerTime: timestamppb.New(start.Add(time.Second)), Answer: []*messagev1.Message{said("bot " + name)},
	}
}

func said(text string) *messagev1.Message {
	return &messagev1.Message{
		Origin: messagev1.Origin_ORIGIN_BOT, Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}},
	}
}

func (f *fixture) query(t *testing.T, request *contactsv1.QueryContactsRequest) *contactsv1.QueryContactsResponse {
	t.Helper()
	response, err := f.queries.QueryContacts(t.Context(), request)
	require.NoError(t, err)
	return response
}

// numbers are the attendances of a page.
func numbers(response *contactsv1.QueryContactsResponse) []int64 {
	list := []int64{}
	for _, a := range response.GetContacts() {
		list = append(list, a.GetId())
	}
	return list
}

// requireFailure checks the code and reason of a failed call, and the fields that it names.
func requireFailure(t *testing.T, err error, code codes.Code, reason string, fields ...string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, status.Code(err), "%v", err)
	require.Equal(t, reason, rpcerr.Reason(err))
	var got []string
	for _, v := range rpcerr.Violations(status.Convert(err)) {
		require.NotEmpty(t, v.Reason)
		got = append(got, v.Field)
	}
	require.Equal(t, fields, got)
}

func ptr[T any](v T) *T { return &v }

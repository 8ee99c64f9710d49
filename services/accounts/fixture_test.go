package accounts_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	"github.com/prosa-chat/prosa/services/accounts"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
	"github.com/prosa-chat/prosa/services/internal/validate"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var (
	rootKey = strings.Repeat("r", accounts.MinRootKeyLength)
	start   = time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	limits  = []accounts.KindLimits{
		{Kind: "contacts", Limits: quota.Limits{PerSecond: 10, PerDay: 50_000}},
		{Kind: "conversations", Limits: quota.Limits{PerSecond: 20}},
	}
)

// fixture is a service behind the validation that the chain does.
type fixture struct {
	db       *sqldb.DB
	clock    *clock.Manual
	box      *secretbox.Box
	logs     *bytes.Buffer
	metrics  *prometheus.Registry
	service  *accounts.Service
	manage   accountsv1.AccountsServiceClient
	server   any // the AccountsService
	identity accountsv1.IdentityServiceClient
	usage    accountsv1.UsageServiceClient
	meter    accountsv1.MeterServiceClient
}

func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngine(t, accounts.Migrations(), "accounts", func(t *testing.T, db *sqldb.DB) {
		test(t, newFixture(t, db))
	})
}

func newFixture(t *testing.T, db *sqldb.DB) *fixture {
	t.Helper()
	box, err := secretbox.New(strings.Repeat("s", secretbox.MinKeyLength))
	require.NoError(t, err)
	f := &fixture{db: db, clock: clock.NewManual(start), box: box, logs: new(bytes.Buffer), metrics: prometheus.NewRegistry()}
	f.service, err = accounts.New(accounts.Config{RootKey: rootKey, Limits: limits}, accounts.Deps{
		DB: db, Clock: f.clock, IDs: id.NewSource(f.clock, nil), Box: box,
		Logger: slog.New(slog.NewTextHandler(f.logs, nil)), Metrics: f.metrics,
	})
	require.NoError(t, err)
	channel := (&inprocgrpc.Channel{}).WithServerUnaryInterceptor(
		func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if err := validate.Request(request); err != nil {
				return nil, err
			}
			return handler(ctx, request)
		})
	f.service.Register(registrar{channel, f})
	f.manage = accountsv1.NewAccountsServiceClient(channel)
	f.identity = accountsv1.NewIdentityServiceClient(channel)
	f.usage = accountsv1.NewUsageServiceClient(channel)
	f.meter = accountsv1.NewMeterServiceClient(channel)
	return f
}

// registrar passes on what it gets, and keeps the AccountsService for the fixture.
type registrar struct {
	grpc.ServiceRegistrar
	fixture *fixture
}

func (r registrar) RegisterService(service *grpc.ServiceDesc, server any) {
	if service.ServiceName == accountsv1.AccountsService_ServiceDesc.ServiceName {
		r.fixture.server = server
	}
	r.ServiceRegistrar.RegisterService(service, server)
}

func (f *fixture) createInstance(t *testing.T, slug string) *accountsv1.Instance {
	t.Helper()
	response, err := f.manage.CreateInstance(t.Context(), &accountsv1.CreateInstanceRequest{Instance: &accountsv1.Instance{Slug: slug}})
	require.NoError(t, err)
	return response.GetInstance()
}

func (f *fixture) createKey(t *testing.T, slug string, scopes ...string) *accountsv1.ApiKey {
	t.Helper()
	response, err := f.manage.CreateApiKey(t.Context(), keyRequest(slug, scopes...))
	require.NoError(t, err)
	return response.GetApiKey()
}

func keyRequest(slug string, scopes ...string) *accountsv1.CreateApiKeyRequest {
	return &accountsv1.CreateApiKeyRequest{Instance: slug, ApiKey: &accountsv1.ApiKey{Scopes: scopes}}
}

func withIdempotencyKey(t *testing.T, key string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", key)
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

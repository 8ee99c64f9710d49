package agent_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

const eco = "displayName: Eco\ndescription: Repete\nfallback: eco\nnodes:\n  eco:\n    say:\n      - text: \"eco: {{ input.text }}\"\n"

// contacts is a contacts service that remembers what it got.
type contacts struct {
	contactsv1.RecordServiceClient
	mu     sync.Mutex
	opened map[string]int
	// attributes are what is known about everybody.
	attributes map[string]string
	recorded   chan *contactsv1.TurnRecord
}

func (c *contacts) OpenAttendance(
	_ context.Context, r *contactsv1.OpenAttendanceRequest, _ ...grpc.CallOption,
) (*contactsv1.OpenAttendanceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.opened[r.GetRequestId()]
	if !ok {
		n = len(c.opened) + 1
		c.opened[r.GetRequestId()] = n
	}
	return &contactsv1.OpenAttendanceResponse{
		AttendanceId: int64(n), InteractionId: "i" + strconv.Itoa(n), ContactId: "c1", Attributes: c.attributes,
	}, nil
}

func (c *contacts) RecordTurns(
	ctx context.Context, r *contactsv1.RecordTurnsRequest, _ ...grpc.CallOption,
) (*contactsv1.RecordTurnsResponse, error) {
	for _, turn := range r.GetTurns() {
		select {
		case c.recorded <- turn:
		case <-ctx.Done(): // the test is over
			return nil, ctx.Err()
		}
	}
	return &contactsv1.RecordTurnsResponse{}, nil
}

// instances knows acme and other, and counts how often it was asked.
type instances struct {
	mu    sync.Mutex
	asked int
}

func (i *instances) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	if slug != "acme" && slug != "other" {
		return nil, rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance", "instance", slug)
	}
	return &accountsv1.Instance{Slug: slug, TimeZone: "America/Sao_Paulo"}, nil
}

type fixture struct {
	agentv1.AgentServiceClient
	turns     agentv1.TurnServiceClient
	secrets   agentv1.SecretServiceClient
	service   *agent.Service
	deps      agent.Deps
	clock     *clock.Manual
	contacts  *contacts
	instances *instances
	principal auth.Principal
}

func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngine(t, agent.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) {
		c := clock.NewManual(start)
		box, err := secretbox.New("0123456789abcdef0123456789abcdef")
		require.NoError(t, err)
		f := &fixture{
			clock:     c,
			contacts:  &contacts{opened: make(map[string]int), recorded: make(chan *contactsv1.TurnRecord, 100)},
			instances: &instances{},
			principal: auth.Principal{Root: true},
		}
		f.deps = agent.Deps{
			DB: db, Clock: c, IDs: id.NewSource(c, nil), Box: box, Logger: slog.New(slog.DiscardHandler),
			Metrics: prometheus.NewRegistry(), Contacts: f.contacts, Instances: f.instances,
			Guard: loopback(), Version: "1.2.3",
		}
		f.service, err = agent.New(agent.Config{}, f.deps)
		require.NoError(t, err)
		channel := (&inprocgrpc.Channel{}).WithServerUnaryInterceptor(func(
			ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
		) (any, error) {
			return handler(auth.WithPrincipal(ctx, f.principal), request)
		})
		f.service.Register(channel)
		f.AgentServiceClient, f.turns = agentv1.NewAgentServiceClient(channel), agentv1.NewTurnServiceClient(channel)
		f.secrets = agentv1.NewSecretServiceClient(channel)
		test(t, f)
	})
}

func yaml(text string) *structpb.Value { return structpb.NewStringValue(text) }

func withKey(ctx context.Context, key string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "idempotency-key", key)
}

func (f *fixture) create(t *testing.T, instance string, a *agentv1.Agent) *agentv1.Agent {
	t.Helper()
	if a.Definition == nil {
		a.Definition = yaml(eco)
	}
	response, err := f.CreateAgent(t.Context(), &agentv1.CreateAgentRequest{Instance: instance, Agent: a})
	require.NoError(t, err)
	return response.GetAgent()
}

func (f *fixture) get(t *testing.T, instance, agentID string) *agentv1.Agent {
	t.Helper()
	response, err := f.GetAgent(t.Context(), &agentv1.GetAgentRequest{Instance: instance, Id: agentID})
	require.NoError(t, err)
	return response.GetAgent()
}

func requireEqual(t testing.TB, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

func requireReason(t testing.TB, err error, code codes.Code, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, rpcerr.Code(err), "%v", err)
	require.Equal(t, reason, rpcerr.Reason(err), "%v", err)
}

package turn_test

import (
	"cmp"
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/program"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

const inactivity = time.Hour

// contacts opens attendances as the contacts service does: the same request id gets the same attendance.
type contacts struct {
	mu      sync.Mutex
	byID    map[string]*contactsv1.OpenAttendanceResponse
	calls   []*contactsv1.OpenAttendanceRequest
	failure error
}

func (c *contacts) OpenAttendance(
	_ context.Context, r *contactsv1.OpenAttendanceRequest, _ ...grpc.CallOption,
) (*contactsv1.OpenAttendanceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, proto.CloneOf(r))
	if c.failure != nil {
		return nil, c.failure
	}
	key := r.GetInstance() + "/" + r.GetRequestId()
	if known, ok := c.byID[key]; ok {
		return known, nil
	}
	n := len(c.byID) + 1
	c.byID[key] = &contactsv1.OpenAttendanceResponse{
		AttendanceId: int64(n), InteractionId: cmp.Or(r.GetInteractionId(), "interaction-"+strconv.Itoa(n)), ContactId: "contact-of-" + r.GetIdentifier(),
		Attributes: map[string]string{"city": "Belém"},
	}
	return c.byID[key], nil
}

func (c *contacts) opened() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}

type instances map[string]*accountsv1.Instance

func (i instances) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	if found, ok := i[slug]; ok {
		return found, nil
	}
	return nil, rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance", "instance", slug)
}

type fixture struct {
	db        *sqldb.DB
	store     *store.Store
	contacts  *contacts
	instances instances
	clock     *clock.Manual
	metrics   *prometheus.Registry
	committed int
	deps      turn.Deps
	runner    *turn.Runner
}

func newFixture(t testing.TB, db *sqldb.DB) *fixture {
	t.Helper()
	f := &fixture{
		db: db, store: store.New(db), contacts: &contacts{byID: make(map[string]*contactsv1.OpenAttendanceResponse)},
		instances: instances{}, clock: clock.NewManual(start), metrics: prometheus.NewRegistry(),
	}
	for _, slug := range []string{"acme", "other"} {
		f.instances[slug] = &accountsv1.Instance{
			Slug: slug, DisplayName: "Loja " + slug, TimeZone: "America/Sao_Paulo", InactivityTimeout: durationpb.New(inactivity),
		}
	}
	metrics, err := turn.NewMetrics(f.metrics)
	require.NoError(t, err)
	var mu sync.Mutex
	f.deps = turn.Deps{
		Store: f.store, Programs: program.NewCache(f.store, 16, 1<<20), Attendances: f.contacts, Instances: f.instances, Clock: f.clock,
		IDs: id.NewSource(f.clock, nil), Logger: slog.New(slog.DiscardHandler), Tracer: noop.NewTracerProvider().Tracer(""),
		Metrics: metrics,
		Committed: func(*store.Turn, *contactsv1.TurnRecord, *agentv1.RunTurnResponse) {
			mu.Lock()
			defer mu.Unlock()
			f.committed++
		},
	}
	f.runner = turn.NewRunner(f.deps)
	return f
}

// eachEngine runs a test on both engines with an agent a1 in two instances.
func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngine(t, store.Migrations(), "agent", func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		f.createAgent(t, "acme", "a1", asking("v1"))
		f.createAgent(t, "other", "a1", asking("v1"))
		test(t, f)
	})
}

func say(template string) *agentv1.Say {
	return &agentv1.Say{Content: &agentv1.Say_Text{Text: template}}
}

// asking is an agent that asks for a name, greets, and ends.
func asking(tag string) *agentv1.AgentDefinition {
	return &agentv1.AgentDefinition{
		DisplayName: "Agente " + tag, Start: "ask",
		Nodes: map[string]*agentv1.Node{
			"ask": {
				Say: []*agentv1.Say{say(tag + ": {{ instance.name }} em {{ contact.city }}")},
				Ask: &agentv1.Ask{Prompt: &agentv1.Ask_Text{Text: "Qual o seu nome?"}, Save: "contact.name"}, Goto: "bye",
			},
			"bye": {
				Say:   []*agentv1.Say{say(tag + ": Tchau, {{ contact.name }}.")},
				Event: &agentv1.EventAction{Name: "encerramento", Details: map[string]string{"motivo": "fim"}}, End: true,
			},
		},
	}
}

// echoing is an agent that says what it hears, for ever.
func echoing() *agentv1.AgentDefinition {
	return &agentv1.AgentDefinition{
		DisplayName: "Eco", Fallback: "eco",
		Nodes: map[string]*agentv1.Node{"eco": {Say: []*agentv1.Say{say("eco: {{ input.text }}")}}},
	}
}

func version(t testing.TB, definition *agentv1.AgentDefinition) store.Version {
	t.Helper()
	raw, err := proto.Marshal(definition)
	require.NoError(t, err)
	return store.Version{Format: store.FormatYAML, Source: []byte("-"), Definition: raw, DisplayName: definition.GetDisplayName()}
}

func (f *fixture) createAgent(t testing.TB, instance, agentID string, definition *agentv1.AgentDefinition) {
	t.Helper()
	require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
		_, err := f.store.CreateAgent(ctx, tx, store.Agent{Instance: instance, ID: agentID, CreateTime: start}, version(t, definition))
		return err
	}))
}

// message is a message of a person to agent a1 of acme.
func message(messageID, text string) *agentv1.RunTurnRequest {
	return &agentv1.RunTurnRequest{
		Instance: "acme", AgentId: "a1", MessageId: messageID, Source: "api_channel", EndpointId: "e1", Identifier: "joão", Text: text,
		AcceptTime: timestamppb.New(start),
	}
}

func (f *fixture) run(t testing.TB, r *agentv1.RunTurnRequest) *agentv1.RunTurnResponse {
	t.Helper()
	response, err := f.runner.Run(t.Context(), r, engine.Discard)
	require.NoError(t, err)
	return response
}

func (f *fixture) count(t testing.TB, query string) int {
	t.Helper()
	var n int
	require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

func texts(r *agentv1.RunTurnResponse) []string {
	var all []string
	for _, m := range r.GetMessages() {
		all = append(all, m.GetText().GetText())
	}
	return all
}

func requireReason(t testing.TB, err error, code codes.Code, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, code, rpcerr.Code(err), "%v", err)
	require.Equal(t, reason, rpcerr.Reason(err))
}

package channel_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/lifecycle"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/secretbox"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// created is when the fake agent makes its messages.
var created = timestamppb.New(time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC))

const (
	secretKey = "a secret key of more than 32 bytes for tests"
	agentID   = "64a1b2c3d4e5f6a7b8c9d0aa"
	patience  = 20 * time.Second
)

// rig is a channel service with a fake agent and a real receiver around it.
type rig struct {
	t        testing.TB
	db       *sqldb.DB
	store    *store.Store
	clock    clock.Clock
	config   channel.Config
	agent    *fakeAgent
	receiver *receiver
	metrics  *prometheus.Registry
	tracer   trace.TracerProvider

	channels   channelv1.ChannelServiceClient
	inbound    channelv1.InboundServiceClient
	botAPIs    channelv1.BotApiServiceClient
	bots       channelv1.BotApiInboundServiceClient
	outbox     channelv1.DeliveryServiceClient
	replies    channelv1.ReplyServiceClient
	supervisor *lifecycle.Supervisor
	workers    []lifecycle.Worker
}

type rigOption func(*rig)

func withClock(c clock.Clock) rigOption     { return func(r *rig) { r.clock = c } }
func withConfig(c channel.Config) rigOption { return func(r *rig) { r.config = c } }
func onSQLite(t testing.TB) *sqldb.DB       { return openOn(t, sqldb.SQLite) }
func openOn(t testing.TB, d sqldb.Dialect) *sqldb.DB {
	return testkit.Open(t, testkit.Options(t, d, channel.Migrations(), "channel"))
}

// onEach runs a test on both engines.
func onEach(t *testing.T, test func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	testkit.EachEngine(t, channel.Migrations(), "channel", test)
}

// newRig makes a service whose workers do not run yet.
func newRig(t testing.TB, db *sqldb.DB, options ...rigOption) *rig {
	t.Helper()
	r := &rig{t: t, db: db, store: store.New(db), clock: clock.System(), config: channel.Config{Poll: 20 * time.Millisecond}}
	for _, option := range options {
		option(r)
	}
	r.agent = newFakeAgent()
	r.receiver = newReceiver(t)
	r.build()
	return r
}

type half struct{}

func (half) Float64() float64 { return 0.5 } // waits are exactly those of the schedule

// build makes a service anew on the same store, as after a restart.
func (r *rig) build() {
	r.t.Helper()
	box, err := secretbox.New(secretKey)
	require.NoError(r.t, err)
	logger := slog.New(slog.DiscardHandler)
	r.metrics = prometheus.NewRegistry()
	service, err := channel.New(r.config, channel.Deps{
		DB: r.db, Clock: r.clock, IDs: id.NewSource(r.clock, nil), Box: box, Logger: logger, Metrics: r.metrics, Tracer: r.tracer, Agent: r.agent, Replies: r.agent,
		Instances: instances{}, Guard: egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true), Version: "1.2.3", Rand: half{},
	})
	require.NoError(r.t, err)
	require.NoError(r.t, service.Ready(context.Background()))
	local := &inprocgrpc.Channel{}
	if r.tracer != nil {
		local.WithServerUnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			ctx, span := r.tracer.Tracer("rig").Start(ctx, info.FullMethod)
			defer span.End()
			return handle(ctx, request)
		})
	}
	service.Register(local)
	r.channels, r.inbound = channelv1.NewChannelServiceClient(local), channelv1.NewInboundServiceClient(local)
	r.botAPIs, r.bots = channelv1.NewBotApiServiceClient(local), channelv1.NewBotApiInboundServiceClient(local)
	r.outbox, r.replies = channelv1.NewDeliveryServiceClient(local), channelv1.NewReplyServiceClient(local)
	r.supervisor = lifecycle.NewSupervisor(logger, clock.System())
	r.workers = service.Workers()
	r.t.Cleanup(r.stop)
}

// start runs the workers.
func (r *rig) start() *rig {
	for _, worker := range r.workers {
		require.NoError(r.t, r.supervisor.Go(worker))
	}
	return r
}

// stop ends the workers as the end of the process does.
func (r *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(r.t, r.supervisor.Stop(ctx))
}

// restart is stop and start with a new service on the same store.
func (r *rig) restart() {
	r.stop()
	r.build()
	r.start()
}

// create makes a channel whose webhook is the rig's receiver.
func (r *rig) create(change ...func(*channelv1.Channel)) *channelv1.Channel {
	r.t.Helper()
	asked := &channelv1.Channel{DisplayName: "Canal", AgentId: agentID, WebhookUrl: r.receiver.URL + "/hook"}
	for _, c := range change {
		c(asked)
	}
	made, err := r.channels.CreateChannel(context.Background(), &channelv1.CreateChannelRequest{Instance: "acme", Channel: asked})
	require.NoError(r.t, err)
	secret, err := webhook.ParseSecret(made.GetChannel().GetSigningSecret())
	require.NoError(r.t, err)
	r.receiver.trust(secret)
	return made.GetChannel()
}

// send gives the service a message and returns its id.
func (r *rig) send(c *channelv1.Channel, person, text string) string {
	r.t.Helper()
	answer, err := r.inbound.ReceiveMessage(context.Background(), received(c.GetId(), person, text))
	require.NoError(r.t, err)
	require.Equal(r.t, "ok", answer.GetStatus())
	return answer.GetMessageId()
}

func received(channelID, person, text string) *channelv1.ReceiveMessageRequest {
	return &channelv1.ReceiveMessageRequest{ChannelId: channelID, ClientIdentifier: person, Type: "text", Text: text}
}

// keyed is a context with headers: name, value, name, value …
func keyed(pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), pairs...)
}

// lane are the deliveries to a person, in order.
func (r *rig) lane(c *channelv1.Channel, person string) []store.Delivery {
	r.t.Helper()
	all, err := r.store.Deliveries(context.Background(),
		store.LaneKey{Instance: "acme", EndpointID: c.GetId(), InteractionID: interactionOf(person)}, 0, 1000)
	require.NoError(r.t, err)
	return all
}

// idleTimers is how many timers run while the workers wait: their polls, the
// sweeper's, the three keepers' and the retention's.
const idleTimers = 9

// advance moves a manual clock on when all workers wait for it.
func (r *rig) advance(d time.Duration) {
	r.t.Helper()
	manual, timers := r.clock.(*clock.Manual), idleTimers
	if r.db.Dialect() == sqldb.Postgres {
		timers++ // that of package replica
	}
	manual.AwaitTimers(timers)
	manual.Advance(d)
}

// eventually waits for what other goroutines bring about in the store.
func (r *rig) eventually(condition func() bool, what string) {
	r.t.Helper()
	require.Eventually(r.t, condition, patience, 2*time.Millisecond, what)
}

func (r *rig) backlog() store.Backlog {
	r.t.Helper()
	b, err := r.store.Backlog(context.Background())
	require.NoError(r.t, err)
	return b
}

// drained waits until nothing is pending.
func (r *rig) drained() {
	r.t.Helper()
	r.eventually(func() bool { b := r.backlog(); return b.Messages == 0 && b.Deliveries == 0 }, "nothing pending")
}

// instances knows acme and other.
type instances struct{}

func (instances) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	if slug == "acme" || slug == "other" {
		return &accountsv1.Instance{Slug: slug}, nil
	}
	return nil, rpcerr.New(codes.NotFound, accountsv1.ErrorReason_ERROR_REASON_INSTANCE_NOT_FOUND, "no such instance")
}

// contactOf and interactionOf are what the fake agent calls a person and their conversation.
func contactOf(person string) string     { return hash("contact/" + person) }
func interactionOf(person string) string { return hash("interaction/" + person) }

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}

// fakeAgent answers with an echo, unless a test says otherwise. Like the real
// one it knows a message by its id.
type fakeAgent struct {
	mu       sync.Mutex
	answer   func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error)
	lookup   func(*agentv1.LookupAgentRequest) error
	answered map[string]*agentv1.RunTurnResponse
	calls    []string            // texts, in order
	order    map[string][]string // texts by person, each once
	running  map[string]bool
	overlaps int
	people   fakePeople
}

func newFakeAgent() *fakeAgent {
	return &fakeAgent{answered: map[string]*agentv1.RunTurnResponse{}, order: map[string][]string{}, running: map[string]bool{}}
}

func (a *fakeAgent) RunTurn(_ context.Context, r *agentv1.RunTurnRequest, _ ...grpc.CallOption) (*agentv1.RunTurnResponse, error) {
	a.mu.Lock()
	if a.running[r.GetIdentifier()] {
		a.overlaps++
	}
	a.running[r.GetIdentifier()] = true
	a.calls = append(a.calls, r.GetText())
	known, answer := a.answered[r.GetMessageId()], a.answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.running, r.GetIdentifier())
	}()
	if known != nil {
		return known, nil
	}
	messages := []*messagev1.Message{text("echo: " + r.GetText())}
	if answer != nil {
		var err error
		if messages, err = answer(r); err != nil {
			return nil, err
		}
	}
	response := &agentv1.RunTurnResponse{
		ContactId: contactOf(r.GetIdentifier()), InteractionId: interactionOf(r.GetIdentifier()), AttendanceId: 1, Messages: messages,
		Debug: &agentv1.TurnDebug{AgentVersion: 3, Node: "menu", Confidence: 0.25, DurationMs: 1.5},
	}
	if r.GetReturnContext() {
		response.Context = &structpb.Struct{Fields: r.GetContext().GetFields()}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answered[r.GetMessageId()] = response
	a.order[r.GetIdentifier()] = append(a.order[r.GetIdentifier()], r.GetText())
	return response, nil
}

func (a *fakeAgent) LookupAgent(_ context.Context, r *agentv1.LookupAgentRequest, _ ...grpc.CallOption) (*agentv1.LookupAgentResponse, error) {
	a.mu.Lock()
	lookup := a.lookup
	a.mu.Unlock()
	if lookup != nil {
		if err := lookup(r); err != nil {
			return nil, err
		}
	}
	if r.GetAgentId() != agentID {
		return nil, rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_AGENT_NOT_FOUND, "no such agent", "id", r.GetAgentId()).GRPCStatus().Err()
	}
	return &agentv1.LookupAgentResponse{AssistantId: 1}, nil
}

func (a *fakeAgent) set(answer func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

func (a *fakeAgent) count(words string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, call := range a.calls {
		if call == words {
			n++
		}
	}
	return n
}

func (a *fakeAgent) texts(person string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.order[person]...)
}

func text(words string) *messagev1.Message {
	return &messagev1.Message{Origin: messagev1.Origin_ORIGIN_BOT, CreateTime: created, Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: words}}}
}

// hook is one request that the receiver got.
type hook struct {
	path   string
	header http.Header
	body   string
	bad    error // what is wrong with the signature
}

// receiver is a webhook that records what it gets.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	arrived *sync.Cond
	secrets []webhook.Secret
	got     []hook
	// reply answers the nth request, from 1; nil acknowledges.
	reply func(n int, h hook, w http.ResponseWriter)
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{}
	r.arrived = sync.NewCond(&r.mu)
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) trust(s webhook.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets = append(r.secrets, s)
}

func (r *receiver) answer(reply func(n int, h hook, w http.ResponseWriter)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = reply
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	h := hook{path: request.URL.Path, header: request.Header, body: string(body)}
	if sent := request.Header.Get("webhook-timestamp"); sent != "" {
		at, _ := time.ParseDuration(sent + "s")
		h.bad = webhook.Verify(request.Header, body, time.Unix(int64(at.Seconds()), 0), r.secrets...)
	}
	r.got = append(r.got, h)
	n, reply := len(r.got), r.reply
	r.arrived.Broadcast()
	r.mu.Unlock()
	if reply != nil {
		reply(n, h, w)
		return
	}
	acknowledge(w)
}

func acknowledge(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"status":"ok"}`) }

// await waits for n requests and returns all there are.
func (r *receiver) await(t testing.TB, n int) []hook {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { r.mu.Lock(); defer r.mu.Unlock(); r.arrived.Broadcast() })()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.got) < n && ctx.Err() == nil {
		r.arrived.Wait()
	}
	require.GreaterOrEqual(t, len(r.got), n, "requests at the receiver")
	return append([]hook(nil), r.got...)
}

// count is how many requests there were.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func stringReader(s string) io.Reader { return strings.NewReader(s) }

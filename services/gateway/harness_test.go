package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/quotatest"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestMain(m *testing.M) {
	// A server that closed a connection before it read the whole body lingers for half a second, whatever its Close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

var started = time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)

// The keys that the harness knows, in the form that the chain finds plausible.
const (
	rootKey     = "root-0123456789abcdef0123456789abcdef"
	manageKey   = "manage-0123456789abcdef0123456789abcdef"
	contactsKey = "contacts-0123456789abcdef0123456789abcdef"
)

type fakeVerifier struct{}

func (fakeVerifier) Verify(_ context.Context, key string) (auth.Principal, error) {
	switch key {
	case rootKey:
		return auth.Principal{Root: true, Scopes: []string{"manage", "contacts.read"}}, nil
	case manageKey:
		return auth.Principal{Instance: "acme", KeyID: "1", Scopes: []string{"manage"}}, nil
	case contactsKey:
		return auth.Principal{Instance: "acme", KeyID: "2", Scopes: []string{"contacts.read"}}, nil
	}
	return auth.Principal{}, rpcerr.New(codes.Unauthenticated, accountsv1.ErrorReason_ERROR_REASON_API_KEY_INVALID, "the key is not valid")
}

// fakes are the services behind the gateway under test. A call whose function is nil is UNIMPLEMENTED.
type fakes struct {
	accountsv1.UnimplementedAccountsServiceServer
	accountsv1.UnimplementedUsageServiceServer
	agentv1.UnimplementedAgentServiceServer
	agentv1.UnimplementedHandoffServiceServer
	channelv1.UnimplementedChannelServiceServer
	channelv1.UnimplementedBotApiServiceServer
	channelv1.UnimplementedInboundServiceServer
	channelv1.UnimplementedReplyServiceServer
	channelv1.UnimplementedBotApiInboundServiceServer
	contactsv1.UnimplementedContactsServiceServer
	contactsv1.UnimplementedAttendanceServiceServer

	receive       func(context.Context, *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error)
	receiveBot    func(context.Context, *channelv1.ReceiveBotMessageRequest) (*channelv1.ReceiveBotMessageResponse, error)
	createBotAPI  func(context.Context, *channelv1.CreateBotApiRequest) (*channelv1.CreateBotApiResponse, error)
	query         func(context.Context, *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error)
	check         func(request any) []rpcerr.Violation
	importAll     func(context.Context, *contactsv1.ImportAttendancesRequest) (*contactsv1.ImportAttendancesResponse, error)
	createChannel func(context.Context, *channelv1.CreateChannelRequest) (*channelv1.CreateChannelResponse, error)
	updateChannel func(context.Context, *channelv1.UpdateChannelRequest) (*channelv1.UpdateChannelResponse, error)
	listChannels  func(context.Context, *channelv1.ListChannelsRequest) (*channelv1.ListChannelsResponse, error)
	getChannel    func(context.Context, *channelv1.GetChannelRequest) (*channelv1.GetChannelResponse, error)
	createAgent   func(context.Context, *agentv1.CreateAgentRequest) (*agentv1.CreateAgentResponse, error)
	createAPIKey  func(context.Context, *accountsv1.CreateApiKeyRequest) (*accountsv1.CreateApiKeyResponse, error)
	getUsage      func(context.Context, *accountsv1.GetUsageRequest) (*accountsv1.GetUsageResponse, error)

	mu       sync.Mutex
	metadata metadata.MD // of the last call
	deadline time.Time   // of the last call
	calls    int
}

func (f *fakes) note(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.metadata, _ = metadata.FromIncomingContext(ctx)
	f.deadline, _ = ctx.Deadline()
	f.calls++
}

func (f *fakes) seen() (metadata.MD, time.Time, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.metadata, f.deadline, f.calls
}

func (f *fakes) ReceiveMessage(ctx context.Context, r *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
	f.note(ctx)
	if f.receive == nil {
		return &channelv1.ReceiveMessageResponse{Status: "ok", MessageId: "64a1b2c3d4e5f6a7b8c9d0e9"}, nil
	}
	return f.receive(ctx, r)
}

func (f *fakes) ReceiveBotMessage(ctx context.Context, r *channelv1.ReceiveBotMessageRequest) (*channelv1.ReceiveBotMessageResponse, error) {
	f.note(ctx)
	if f.receiveBot == nil {
		return &channelv1.ReceiveBotMessageResponse{Code: 200, Message: "Message sent.", MessageId: "64a1b2c3d4e5f6a7b8c9d0e9"}, nil
	}
	return f.receiveBot(ctx, r)
}

//nolint:revive // generated from the contract
func (f *fakes) CreateBotApi(ctx context.Context, r *channelv1.CreateBotApiRequest) (*channelv1.CreateBotApiResponse, error) {
	f.note(ctx)
	return f.createBotAPI(ctx, r)
}

func (f *fakes) QueryContacts(ctx context.Context, r *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error) {
	f.note(ctx)
	return f.query(ctx, r)
}

// CheckRequest makes the fakes a grpcserver.Checker.
func (f *fakes) CheckRequest(_ context.Context, request any) []rpcerr.Violation {
	if f.check == nil {
		return nil
	}
	return f.check(request)
}

func (f *fakes) ImportAttendances(ctx context.Context, r *contactsv1.ImportAttendancesRequest) (*contactsv1.ImportAttendancesResponse, error) {
	f.note(ctx)
	return f.importAll(ctx, r)
}

func (f *fakes) CreateChannel(ctx context.Context, r *channelv1.CreateChannelRequest) (*channelv1.CreateChannelResponse, error) {
	f.note(ctx)
	return f.createChannel(ctx, r)
}

func (f *fakes) UpdateChannel(ctx context.Context, r *channelv1.UpdateChannelRequest) (*channelv1.UpdateChannelResponse, error) {
	f.note(ctx)
	return f.updateChannel(ctx, r)
}

func (f *fakes) ListChannels(ctx context.Context, r *channelv1.ListChannelsRequest) (*channelv1.ListChannelsResponse, error) {
	f.note(ctx)
	return f.listChannels(ctx, r)
}

func (f *fakes) GetChannel(ctx context.Context, r *channelv1.GetChannelRequest) (*channelv1.GetChannelResponse, error) {
	f.note(ctx)
	return f.getChannel(ctx, r)
}

func (f *fakes) CreateAgent(ctx context.Context, r *agentv1.CreateAgentRequest) (*agentv1.CreateAgentResponse, error) {
	f.note(ctx)
	return f.createAgent(ctx, r)
}

func (f *fakes) GetUsage(ctx context.Context, r *accountsv1.GetUsageRequest) (*accountsv1.GetUsageResponse, error) {
	f.note(ctx)
	return f.getUsage(ctx, r)
}

//nolint:revive // generated from the contract
func (f *fakes) CreateApiKey(ctx context.Context, r *accountsv1.CreateApiKeyRequest) (*accountsv1.CreateApiKeyResponse, error) {
	f.note(ctx)
	return f.createAPIKey(ctx, r)
}

// harness is a gateway on a socket, in front of fakes behind the real chain.
type harness struct {
	fakes   *fakes
	gateway *Gateway
	address string
	log     *lockedBuffer
	metrics *prometheus.Registry
	client  *http.Client
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func newFakes(t testing.TB) (*fakes, grpc.ClientConnInterface) {
	t.Helper()
	f := &fakes{}
	server := grpcserver.NewInProcess(grpcserver.NewChain(grpcserver.ChainDeps{
		Logger: slog.New(slog.DiscardHandler), Clock: clock.System(), IDs: id.NewSource(clock.System(), nil), Verifier: fakeVerifier{},
		Quotas: grpcserver.Quotas{
			Keeper: quotatest.Keeper(t, clock.System()), Contacts: quota.Limits{PerSecond: 10, PerDay: 50_000}, Conversations: quota.Limits{PerSecond: 20},
		},
	}))
	accountsv1.RegisterAccountsServiceServer(server, f)
	accountsv1.RegisterUsageServiceServer(server, f)
	agentv1.RegisterAgentServiceServer(server, f)
	agentv1.RegisterHandoffServiceServer(server, f)
	channelv1.RegisterChannelServiceServer(server, f)
	channelv1.RegisterBotApiServiceServer(server, f)
	channelv1.RegisterInboundServiceServer(server, f)
	channelv1.RegisterReplyServiceServer(server, f)
	channelv1.RegisterBotApiInboundServiceServer(server, f)
	contactsv1.RegisterContactsServiceServer(server, f)
	contactsv1.RegisterAttendanceServiceServer(server, f)
	return f, server.Public()
}

func newHarness(t testing.TB, cfg Config, change ...func(*Deps)) *harness {
	t.Helper()
	h := &harness{log: &lockedBuffer{}, metrics: prometheus.NewRegistry()}
	var services grpc.ClientConnInterface
	h.fakes, services = newFakes(t)
	manual := clock.NewManual(started)
	deps := Deps{
		Accounts: services, Channel: services, Agent: services, Contacts: services,
		Clock: manual, IDs: id.NewSource(manual, nil), Logger: slog.New(slog.NewJSONHandler(h.log, nil)),
		Ready: func(context.Context) []Problem { return nil }, OpenAPI: []byte(`{"openapi":"3.1.0"}`), Metrics: h.metrics,
	}
	for _, c := range change {
		c(&deps)
	}
	var err error
	h.gateway, err = New(cfg, deps)
	require.NoError(t, err)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := h.gateway.NewServer()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	transport := &http.Transport{}
	h.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	h.address = listener.Addr().String()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-done
	})
	return h
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with a JSON body, unless the body is empty. headers are "Name: value" lines.
func (h *harness) do(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	request, err := http.NewRequest(method, "http://"+h.address+path, reader)
	require.NoError(t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if value == "" {
			request.Header.Del(name)
			continue
		}
		request.Header[http.CanonicalHeaderKey(name)] = append(request.Header[http.CanonicalHeaderKey(name)], value)
		if name == "Content-Type" {
			request.Header.Set(name, value)
		}
	}
	return h.send(t, request)
}

func (h *harness) send(t testing.TB, request *http.Request) answer {
	t.Helper()
	response, err := h.client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{status: response.StatusCode, header: response.Header, body: string(got)}
}

// post sends a message to the API Channel.
func (h *harness) post(t testing.TB, body string, headers ...string) answer {
	t.Helper()
	return h.do(t, http.MethodPost, "/webhooks/api", body, headers...)
}

// names are the names of the invalid parameters of an answer, in order.
func (a answer) names(t testing.TB) []string {
	t.Helper()
	var parsed struct {
		InvalidParams []struct{ Name, Reason string }
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &parsed), a.body)
	names := []string{}
	for _, p := range parsed.InvalidParams {
		require.NotEmpty(t, p.Reason)
		names = append(names, p.Name)
	}
	return names
}

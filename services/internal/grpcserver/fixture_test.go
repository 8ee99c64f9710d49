package grpcserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
	"github.com/prosa-chat/prosa/services/internal/auth"
	"github.com/prosa-chat/prosa/services/internal/auth/apikey"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/grpcclient"
	"github.com/prosa-chat/prosa/services/internal/grpcserver"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/quota"
	"github.com/prosa-chat/prosa/services/internal/quota/quotatest"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	keyID   = "5f1b0c8e9d3a4b2c1d0e9f8a"
	rootKey = "root-key-of-thirty-two-characters-and-more"
)

var (
	manageKey        = apikey.Generate(keyID, nil).Reveal()
	contactsKey      = apikey.Generate(keyID, nil).Reveal()
	conversationsKey = apikey.Generate(keyID, nil).Reveal()
)

// verifier knows the keys above and counts its questions.
type verifier struct {
	mu    sync.Mutex
	asked int
}

func (v *verifier) Verify(_ context.Context, key string) (auth.Principal, error) {
	v.mu.Lock()
	v.asked++
	v.mu.Unlock()
	switch key {
	case rootKey:
		return auth.Principal{Root: true}, nil
	case manageKey:
		return auth.Principal{Instance: "acme", KeyID: keyID, Scopes: []string{auth.ScopeManage}}, nil
	case contactsKey:
		return auth.Principal{Instance: "acme", KeyID: keyID, Scopes: []string{auth.ScopeContactsRead}}, nil
	case conversationsKey:
		return auth.Principal{Instance: "acme", KeyID: keyID, Scopes: []string{auth.ScopeConversations}}, nil
	}
	return auth.Principal{}, rpcerr.New(16, accountsv1.ErrorReason_ERROR_REASON_API_KEY_INVALID, "the key is not valid")
}

// services is every service of the test, made of one function that the test can change.
type services struct {
	accountsv1.UnimplementedAccountsServiceServer
	accountsv1.UnimplementedIdentityServiceServer
	contactsv1.UnimplementedContactsServiceServer
	channelv1.UnimplementedInboundServiceServer

	mu sync.Mutex
	do func(ctx context.Context) error
}

func (s *services) call(ctx context.Context) error {
	s.mu.Lock()
	do := s.do
	s.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(ctx)
}

func (s *services) GetInstance(ctx context.Context, in *accountsv1.GetInstanceRequest) (*accountsv1.GetInstanceResponse, error) {
	return &accountsv1.GetInstanceResponse{Instance: &accountsv1.Instance{Slug: in.GetInstance()}}, s.call(ctx)
}

func (s *services) ListInstances(ctx context.Context, _ *accountsv1.ListInstancesRequest) (*accountsv1.ListInstancesResponse, error) {
	return &accountsv1.ListInstancesResponse{}, s.call(ctx)
}

func (s *services) LookupInstance(ctx context.Context, in *accountsv1.LookupInstanceRequest) (*accountsv1.LookupInstanceResponse, error) {
	return &accountsv1.LookupInstanceResponse{Instance: &accountsv1.Instance{Slug: in.GetInstance()}}, s.call(ctx)
}

func (s *services) QueryContacts(ctx context.Context, _ *contactsv1.QueryContactsRequest) (*contactsv1.QueryContactsResponse, error) {
	return &contactsv1.QueryContactsResponse{}, s.call(ctx)
}

// ReceiveMessage gives back what it does not know of the request.
func (s *services) ReceiveMessage(ctx context.Context, r *channelv1.ReceiveMessageRequest) (*channelv1.ReceiveMessageResponse, error) {
	response := &channelv1.ReceiveMessageResponse{Status: "ok"}
	response.ProtoReflect().SetUnknown(r.ProtoReflect().GetUnknown())
	return response, s.call(ctx)
}

// streamDesc serves, as streams, two names that the contract gives an access option: the contract has no stream yet, the chain
// must be ready for one.
var streamDesc = grpc.ServiceDesc{
	ServiceName: "prosa.accounts.v1.AccountsService",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{
		{StreamName: "GetInstance", ServerStreams: true, Handler: streamHandler},
		{StreamName: "ListInstances", ServerStreams: true, Handler: streamHandler},
	},
}

func streamHandler(server any, stream grpc.ServerStream) error {
	in := new(accountsv1.GetInstanceRequest)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	for range 2 {
		if err := stream.SendMsg(&accountsv1.GetInstanceResponse{Instance: &accountsv1.Instance{Slug: in.GetInstance()}}); err != nil {
			return err
		}
	}
	return server.(*services).call(stream.Context())
}

// callStream calls a stream of streamDesc and reads it to its end.
func callStream(ctx context.Context, conn grpc.ClientConnInterface, method string, in *accountsv1.GetInstanceRequest) (answers int, header metadata.MD, err error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: method, ServerStreams: true}, "/prosa.accounts.v1.AccountsService/"+method)
	if err != nil {
		return 0, nil, err
	}
	if err := stream.SendMsg(in); err != nil {
		return 0, nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return 0, nil, err
	}
	for {
		if err := stream.RecvMsg(new(accountsv1.GetInstanceResponse)); err != nil {
			header, _ = stream.Header()
			return answers, header, err
		}
		answers++
	}
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) lines(t *testing.T) (lines []map[string]any) {
	t.Helper()
	for text := range strings.Lines(l.text()) {
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		lines = append(lines, line)
	}
	return lines
}

// fixture is the chain with a server on each kind of transport.
type fixture struct {
	deps     grpcserver.ChainDeps
	chain    grpcserver.Chain
	clock    *clock.Manual
	verifier *verifier
	services *services
	streams  *services
	log      *logBuffer
	metrics  *prometheus.Registry
}

func newFixture(t *testing.T, change ...func(*grpcserver.ChainDeps)) *fixture {
	t.Helper()
	f := &fixture{
		clock: clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), verifier: &verifier{},
		services: &services{}, streams: &services{}, log: &logBuffer{}, metrics: prometheus.NewRegistry(),
	}
	f.deps = grpcserver.ChainDeps{
		Logger: slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Clock:  f.clock, IDs: id.NewSource(f.clock, nil), Metrics: f.metrics, Verifier: f.verifier,
		Quotas: grpcserver.Quotas{
			Keeper: quotatest.Keeper(t, f.clock), Contacts: quota.Limits{PerSecond: 10, PerDay: 50_000}, Conversations: quota.Limits{PerSecond: 20},
		},
	}
	for _, c := range change {
		c(&f.deps)
	}
	f.chain = grpcserver.NewChain(f.deps)
	return f
}

func (f *fixture) register(r grpc.ServiceRegistrar) {
	accountsv1.RegisterAccountsServiceServer(r, f.services)
	accountsv1.RegisterIdentityServiceServer(r, f.services)
	contactsv1.RegisterContactsServiceServer(r, f.services)
	channelv1.RegisterInboundServiceServer(r, f.services)
}

func (f *fixture) inProcess(t *testing.T) *grpcserver.InProcess {
	t.Helper()
	p := grpcserver.NewInProcess(f.chain)
	f.register(p)
	t.Cleanup(func() { require.NoError(t, p.Stop(context.Background())) })
	return p
}

// network serves on loopback and returns a connection to it and its address.
func (f *fixture) network(t *testing.T, server grpcserver.Options, client grpcclient.Options) (*grpc.ClientConn, string) {
	t.Helper()
	s := grpcserver.New(f.chain, server)
	f.register(s)
	address := serve(t, s)
	return dial(t, address, client), address
}

func serve(t *testing.T, s *grpcserver.Server) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.SetServing("", true)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		_ = s.Stop(context.Background())
		require.NoError(t, <-served)
	})
	return listener.Addr().String()
}

func dial(t *testing.T, address string, options grpcclient.Options) *grpc.ClientConn {
	t.Helper()
	conn, err := grpcclient.Dial("passthrough:///"+address, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// everywhere runs a test over every transport on which callers are strangers.
func (f *fixture) everywhere(t *testing.T, test func(t *testing.T, conn grpc.ClientConnInterface)) {
	t.Helper()
	t.Run("in process", func(t *testing.T) { test(t, f.inProcess(t).Public()) })
	t.Run("network", func(t *testing.T) {
		conn, _ := f.network(t, grpcserver.Options{}, grpcclient.Options{})
		test(t, conn)
	})
}

// streamsEverywhere is everywhere with streamDesc.
func (f *fixture) streamsEverywhere(t *testing.T, test func(t *testing.T, conn grpc.ClientConnInterface)) {
	t.Helper()
	t.Run("in process", func(t *testing.T) {
		p := grpcserver.NewInProcess(f.chain)
		p.RegisterService(&streamDesc, f.streams)
		test(t, p.Public())
		require.NoError(t, p.Stop(context.Background()))
	})
	t.Run("network", func(t *testing.T) {
		s := grpcserver.New(f.chain, grpcserver.Options{})
		s.RegisterService(&streamDesc, f.streams)
		test(t, dial(t, serve(t, s), grpcclient.Options{}))
	})
}

func with(ctx context.Context, pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

func (f *fixture) handle(do func(ctx context.Context) error) {
	for _, s := range []*services{f.services, f.streams} {
		s.mu.Lock()
		s.do = do
		s.mu.Unlock()
	}
}

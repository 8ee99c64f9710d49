package remote_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/remote"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// program is a team's program. It takes the steps it is told to.
type program struct {
	agentv1.UnimplementedEngineServiceServer
	answer func(r *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error

	mu     sync.Mutex
	asked  []*agentv1.AnswerTurnRequest
	tokens []string
}

func (p *program) AnswerTurn(r *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
	md, _ := metadata.FromIncomingContext(to.Context())
	p.mu.Lock()
	p.asked = append(p.asked, r)
	p.tokens = append(p.tokens, strings.Join(md.Get("authorization"), ","))
	p.mu.Unlock()
	return p.answer(r, to)
}

func (p *program) requests() []*agentv1.AnswerTurnRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*agentv1.AnswerTurnRequest(nil), p.asked...)
}

// serve starts the program and gives where it listens.
func serve(t testing.TB, p *program, opts ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(opts...)
	agentv1.RegisterEngineServiceServer(server, p)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// steps takes steps and ends well.
func steps(all ...*agentv1.AnswerTurnResponse) func(*agentv1.AnswerTurnRequest, grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
	return func(_ *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
		for _, step := range all {
			if err := to.Send(step); err != nil {
				return err
			}
		}
		return nil
	}
}

// breaks takes steps and fails.
func breaks(code codes.Code, all ...*agentv1.AnswerTurnResponse) func(*agentv1.AnswerTurnRequest, grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
	return func(r *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
		if err := steps(all...)(r, to); err != nil {
			return err
		}
		return status.Error(code, "canary: internal words")
	}
}

func text(piece string) *agentv1.AnswerTurnResponse {
	return &agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Text{Text: &agentv1.TextPiece{Piece: piece}}}
}

func last(piece string) *agentv1.AnswerTurnResponse {
	return &agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Text{Text: &agentv1.TextPiece{Piece: piece, Last: true}}}
}

func message(m *messagev1.Message) *agentv1.AnswerTurnResponse {
	return &agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Message{Message: m}}
}

func event(name string) *agentv1.AnswerTurnResponse {
	return &agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Event{Event: &agentv1.TurnEvent{Name: name, Details: map[string]string{"a": "b\x00"}}}}
}

func keeps(values map[string]any) *agentv1.AnswerTurnResponse {
	fields, err := structpb.NewStruct(values)
	if err != nil {
		panic(err)
	}
	return &agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Context{Context: fields}}
}

func learns(name, value string) *agentv1.AnswerTurnResponse {
	return &agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Contact{Contact: &agentv1.ContactChange{Attributes: map[string]string{name: value}}}}
}

var (
	end  = &agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_End{End: &agentv1.TurnEnd{}}}
	hand = &agentv1.AnswerTurnResponse{Step: &agentv1.AnswerTurnResponse_Handoff{Handoff: &agentv1.Handoff{Skill: "vendas"}}}
)

// secrets are those of acme.
type secrets map[string]string

func (s secrets) Secret(_ context.Context, instance, name string) (string, error) {
	if value, ok := s[name]; ok && instance == "acme" {
		return value, nil
	}
	return "", errors.New("no such secret")
}

// told is a sink that remembers what it was told.
type told struct {
	pieces   []string
	messages []*messagev1.Message
	heard    chan string
}

func (s *told) Text(piece string) {
	s.pieces = append(s.pieces, piece)
	if s.heard != nil {
		s.heard <- piece
	}
}
func (s *told) Message(m *messagev1.Message) { s.messages = append(s.messages, m) }
func (s *told) Restart()                     { *s = told{} }

type fixture struct {
	program *program
	remote  *agentv1.Remote
	clock   *clock.Manual
	pool    *remote.Pool
	turn    flow.Turn
}

func newFixture(t testing.TB, guard *egress.Guard, roots *x509.CertPool) *fixture {
	t.Helper()
	f := &fixture{program: &program{}, clock: clock.NewManual(start)}
	f.pool = remote.NewPool(remote.Deps{Guard: guard, Secrets: secrets{"token": "t-canary"}, Clock: f.clock, RootCAs: roots})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.pool.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	ids := 0
	f.turn = flow.Turn{
		State: &agentv1.FlowState{Contact: map[string]string{"name": "Ana"}}, Text: "oi", Now: start, InstanceSlug: "acme", InstanceName: "Acme",
		AgentID: "64a1b2c3d4e5f6a7b8c9d0e1", AgentName: "Loja", ID: "t1", ConversationID: "c1",
		NewID: func() string { ids++; return fmt.Sprintf("%024x", ids) },
	}
	return f
}

// plain is a fixture whose program is spoken to without TLS, which its address allows.
func plain(t testing.TB) *fixture {
	f := newFixture(t, egress.NewGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, false), nil)
	f.remote = &agentv1.Remote{Target: serve(t, f.program), Insecure: true}
	return f
}

func (f *fixture) engine(t testing.TB) engine.Engine {
	t.Helper()
	compiled, err := flow.Compile(&agentv1.AgentDefinition{
		DisplayName: "Loja", Remote: f.remote, Fallback: "lost",
		Nodes: map[string]*agentv1.Node{"lost": {Say: []*agentv1.Say{{Content: &agentv1.Say_Text{Text: "O fluxo responde."}}}}},
	})
	require.NoError(t, err)
	return f.pool.Engine(compiled)
}

func (f *fixture) run(t testing.TB, sink engine.Sink) (*flow.Result, error) {
	t.Helper()
	return f.engine(t).Run(t.Context(), f.turn, sink)
}

func textsOf(r *flow.Result) []string {
	var all []string
	for _, m := range r.Messages {
		all = append(all, m.GetText().GetText())
	}
	return all
}

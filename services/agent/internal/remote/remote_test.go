package remote_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/internal/egress"
)

func TestAnswer(t *testing.T) {
	f := plain(t)
	f.remote.TokenSecret = "token"
	f.turn.Sent = map[string]*structpb.Value{"plan": structpb.NewStringValue("gold")}
	label := "S"
	f.program.answer = steps(
		keeps(map[string]any{"stage": "a", "list": []any{1, 2}}), learns("city", "Belém\x00"), text("Olá, "), last("Ana!"), text(" Tudo bem?\x00"),
		message(&messagev1.Message{Msgid: "x", Origin: messagev1.Origin_ORIGIN_HUMAN, Content: &messagev1.Message_Buttons{Buttons: &messagev1.Buttons{
			Text: "Qual?\x00", Options: []*messagev1.Option{{Label: "A", Value: "evil"}, {Label: "B"}},
		}}}),
		message(&messagev1.Message{Content: &messagev1.Message_List{List: &messagev1.List{Text: "Qual?", Title: "Ver", Sections: []*messagev1.Section{
			{Label: &label, Items: []*messagev1.Option{{Label: "A"}}}, {Label: &label, Items: []*messagev1.Option{{Label: "B"}, {Label: "C"}}},
		}}}}),
		keeps(map[string]any{"plan": nil}), event("visita"), text("Até."),
	)
	sink := &told{}
	result, err := f.run(t, sink)
	require.NoError(t, err)
	require.Equal(t, []string{"Olá, ", "Ana!", "Tudo bem?", "Até."}, sink.pieces)
	require.Equal(t, result.Messages, sink.messages)
	require.Equal(t, []string{"Olá, Ana!", "Tudo bem?", "", "", "Até."}, textsOf(result))
	buttons := result.Messages[2]
	require.Equal(t, messagev1.Origin_ORIGIN_BOT, buttons.GetOrigin())
	require.True(t, buttons.GetCreateTime().AsTime().Equal(start))
	require.Len(t, buttons.GetMsgid(), 24)
	require.Equal(t, "Qual?", buttons.GetButtons().GetText())
	require.Equal(t, "index1", buttons.GetButtons().GetOptions()[1].GetValue())
	require.Equal(t, "section1-index1", result.Messages[3].GetList().GetSections()[1].GetItems()[1].GetValue())
	require.Equal(t, []flow.Event{{Name: "visita", Details: map[string]string{"a": "b"}}}, result.Events)
	require.Equal(t, map[string]string{"city": "Belém"}, result.Attributes)
	require.Equal(t, map[string]string{"city": "Belém", "name": "Ana"}, result.State.GetContact())
	kept, err := structpb.NewStruct(map[string]any{"stage": "a", "list": []any{1, 2}})
	require.NoError(t, err)
	require.True(t, proto.Equal(kept, result.State.GetContext()))
	require.False(t, result.Finished)
	require.Empty(t, result.Fault)

	asked := f.program.requests()[0]
	require.True(t, proto.Equal(&agentv1.AnswerTurnRequest{
		Instance: "acme", InstanceName: "Acme", AgentId: "64a1b2c3d4e5f6a7b8c9d0e1", AgentName: "Loja", ConversationId: "c1", TurnId: "t1",
		Text: "oi", Time: asked.GetTime(), TimeZone: "UTC", Contact: map[string]string{"name": "Ana"},
		Context: &structpb.Struct{Fields: map[string]*structpb.Value{"plan": structpb.NewStringValue("gold")}},
	}, asked), "%v", asked)
	require.Equal(t, []string{"Bearer t-canary"}, f.program.tokens)
}

func TestTheLastStep(t *testing.T) {
	f := plain(t)
	f.program.answer = steps(text("Tchau."), end, text("e mais"))
	result, err := f.run(t, engine.Discard)
	require.NoError(t, err)
	require.True(t, result.Finished)
	require.Equal(t, []string{"Tchau."}, textsOf(result))

	f.program.answer = steps(text("Vou chamar alguém."), hand)
	result, err = f.run(t, engine.Discard)
	require.NoError(t, err)
	require.True(t, result.HandedOver)
	require.Equal(t, "geral", result.State.GetHandoff().GetSquad())
	require.Equal(t, "vendas", result.State.GetHandoff().GetSkill())

	f.turn.State = result.State
	asked := len(f.program.requests())
	result, err = f.run(t, engine.Discard)
	require.NoError(t, err)
	require.Empty(t, result.Messages, "people have the conversation")
	require.Len(t, f.program.requests(), asked)

	f.turn.State = nil
	f.program.answer = steps()
	result, err = f.run(t, engine.Discard)
	require.NoError(t, err)
	require.Empty(t, result.Messages, "nothing is an answer too")
	require.Empty(t, result.Fault)
}

func TestPiecesComeAtOnce(t *testing.T) {
	f := plain(t)
	next := make(chan string)
	f.program.answer = func(_ *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
		for piece := range next {
			if err := to.Send(text(piece)); err != nil {
				return err
			}
		}
		return nil
	}
	sink := &told{heard: make(chan string)}
	done := make(chan error, 1)
	go func() {
		_, err := f.run(t, sink)
		done <- err
	}()
	for _, piece := range []string{"a", "b"} {
		next <- piece
		require.Equal(t, piece, <-sink.heard)
	}
	close(next)
	require.NoError(t, <-done)
}

func TestFaults(t *testing.T) {
	link := func(url string) *agentv1.AnswerTurnResponse {
		return message(&messagev1.Message{Content: &messagev1.Message_Media{Media: &messagev1.Media{Kind: messagev1.Media_KIND_IMAGE, Link: url}}})
	}
	events := func(n int) (all []*agentv1.AnswerTurnResponse) {
		for range n {
			all = append(all, event("a"))
		}
		return all
	}
	for name, c := range map[string]struct {
		answer func(*agentv1.AnswerTurnRequest, grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error
		reason string
	}{
		"it fails":              {breaks(codes.Internal), "status_internal"},
		"it fails behind steps": {breaks(codes.Unavailable, event("a"), keeps(map[string]any{"a": "b"})), "status_unavailable"},
		"it refuses":            {breaks(codes.Unauthenticated), "status_unauthenticated"},
		"it panics": {func(*agentv1.AnswerTurnRequest, grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
			return errors.New("x")
		}, "status_unknown"},
		"no step":              {steps(&agentv1.AnswerTurnResponse{}), "invalid_step"},
		"a message of nothing": {steps(message(&messagev1.Message{})), "invalid_step"},
		"a link inwards":       {steps(link("file:///etc/passwd")), "invalid_step"},
		"a link with a key":    {steps(link("https://a:b@example.com/")), "invalid_step"},
		"a piece too long":     {steps(text(strings.Repeat("a", 40_001))), "invalid_step"},
		"a message too long":   {steps(message(&messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: strings.Repeat("a", 10_001)}}})), "invalid_step"},
		"ten megabytes":        {steps(text(strings.Repeat("a", 10<<20))), "status_resourceexhausted"},
		"an event of no name":  {steps(event("")), "invalid_step"},
		"a bad attribute":      {steps(learns("a.b", "c")), "invalid_step"},
		"a name too long":      {steps(keeps(map[string]any{strings.Repeat("a", 65): "b"})), "invalid_step"},
		"no room":              {steps(keeps(map[string]any{"a": strings.Repeat("b", 200<<10)}), keeps(map[string]any{"c": strings.Repeat("b", 200<<10)})), "invalid_step"},
		"too many events":      {steps(events(flow.MaxEvents + 1)...), "invalid_step"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sink := range []engine.Sink{engine.Discard, &told{}} {
				f := plain(t)
				f.program.answer = c.answer
				result, err := f.run(t, sink)
				require.NoError(t, err)
				require.Equal(t, []string{"O fluxo responde."}, textsOf(result))
				require.Equal(t, c.reason, result.Fault)
				require.Empty(t, result.Events, "nothing of its answer counts")
				require.Empty(t, result.Context)
			}
		})
	}
	t.Run("as many events as it may", func(t *testing.T) {
		f := plain(t)
		f.program.answer = steps(events(flow.MaxEvents)...)
		result, err := f.run(t, engine.Discard)
		require.NoError(t, err)
		require.Len(t, result.Events, flow.MaxEvents)
	})
	t.Run("text without an end", func(t *testing.T) {
		f := plain(t)
		f.program.answer = func(_ *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
			for to.Send(text(strings.Repeat("a", 10_000))) == nil {
			}
			return nil
		}
		result, err := f.run(t, engine.Discard)
		require.NoError(t, err)
		require.Equal(t, "the answer is too large", result.Stopped)
		require.LessOrEqual(t, len(result.Messages), flow.MaxMessages+1)
	})
	t.Run("messages without an end", func(t *testing.T) {
		f := plain(t)
		f.program.answer = func(_ *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
			for to.Send(last("a")) == nil {
			}
			return nil
		}
		result, err := f.run(t, engine.Discard)
		require.NoError(t, err)
		require.Equal(t, "more messages than an answer may have", result.Stopped)
	})
}

func TestFailureInTheMiddle(t *testing.T) {
	for name, answer := range map[string]func(*agentv1.AnswerTurnRequest, grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error{
		"of a text":        breaks(codes.Internal, text("Em 3")),
		"behind a message": breaks(codes.Unavailable, last("Em 30 dias.")),
		"by a bad step":    steps(last("Em 30 dias."), event("")),
	} {
		t.Run(name, func(t *testing.T) {
			f := plain(t)
			f.program.answer = answer
			_, err := f.run(t, &told{})
			require.ErrorIs(t, err, flow.ErrInterrupted)
			require.NotContains(t, err.Error(), "canary")
			result, err := f.run(t, engine.Discard)
			require.NoError(t, err)
			require.Equal(t, []string{"O fluxo responde."}, textsOf(result), "nobody saw it")
		})
	}
}

func TestTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		sink  engine.Sink
		limit *durationpb.Duration
		after time.Duration
	}{
		"unseen":                   {engine.Discard, nil, 25 * time.Second},
		"seen":                     {&told{}, nil, time.Minute},
		"as the definition has it": {&told{}, durationpb.New(2 * time.Second), 2 * time.Second},
		"unseen, and long":         {engine.Discard, durationpb.New(5 * time.Minute), 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			f := plain(t)
			f.remote.Timeout = c.limit
			f.program.answer = func(_ *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
				<-to.Context().Done()
				return to.Context().Err()
			}
			done := make(chan *flow.Result, 1)
			go func() {
				result, err := f.run(t, c.sink)
				if err != nil {
					t.Error(err)
				}
				done <- result
			}()
			f.clock.AwaitTimers(1)
			f.clock.Advance(c.after - 1)
			f.clock.AwaitTimers(1)
			f.clock.Advance(1)
			require.Equal(t, "timeout", (<-done).Fault)
		})
	}
	t.Run("the caller goes away", func(t *testing.T) {
		f := plain(t)
		ctx, cancel := context.WithCancel(t.Context())
		f.program.answer = func(_ *agentv1.AnswerTurnRequest, to grpc.ServerStreamingServer[agentv1.AnswerTurnResponse]) error {
			cancel()
			<-to.Context().Done()
			return nil
		}
		_, err := f.engine(t).Run(ctx, f.turn, engine.Discard)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestSecretsStayWithTheirInstance(t *testing.T) {
	f := plain(t)
	f.program.answer = steps(text("oi"))
	f.remote.TokenSecret = "token"
	f.turn.InstanceSlug = "stranger"
	result, err := f.run(t, engine.Discard)
	require.NoError(t, err)
	require.Equal(t, "secret_missing", result.Fault)
	require.Empty(t, f.program.requests())
}

func TestWhoIsSpokenTo(t *testing.T) {
	named := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	certificate, roots := certificateOf(t)
	for name, c := range map[string]struct {
		guard    *egress.Guard
		insecure bool
		reason   string
	}{
		"TLS":                                {egress.NewGuard(named, false), false, ""},
		"TLS to an inner address":            {egress.NewGuard(nil, true), false, "address_refused"},
		"plain text to an inner address":     {egress.NewGuard(nil, true), true, "address_refused"},
		"plain text to who speaks TLS alone": {egress.NewGuard(named, true), true, "status_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.guard, roots)
			f.program.answer = steps(text("oi"))
			f.remote = &agentv1.Remote{Target: serve(t, f.program, grpc.Creds(credentials.NewServerTLSFromCert(certificate))), Insecure: c.insecure}
			result, err := f.run(t, engine.Discard)
			require.NoError(t, err)
			require.Equal(t, c.reason, result.Fault)
			if c.reason != "" {
				require.Empty(t, f.program.requests())
			}
		})
	}
	t.Run("a certificate of nobody", func(t *testing.T) {
		f := newFixture(t, egress.NewGuard(named, false), x509.NewCertPool())
		f.remote = &agentv1.Remote{Target: serve(t, f.program, grpc.Creds(credentials.NewServerTLSFromCert(certificate)))}
		result, err := f.run(t, engine.Discard)
		require.NoError(t, err)
		require.Equal(t, "status_unavailable", result.Fault)
	})
	t.Run("nobody", func(t *testing.T) {
		f := newFixture(t, egress.NewGuard(named, false), nil)
		f.remote = &agentv1.Remote{Target: "127.0.0.1:1"}
		result, err := f.run(t, engine.Discard)
		require.NoError(t, err)
		require.Equal(t, "status_unavailable", result.Fault)
	})
	t.Run("a proxy is not", func(t *testing.T) {
		proxied := make(chan struct{}, 1)
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { require.NoError(t, listener.Close()) }()
		go func() {
			if c, err := listener.Accept(); err == nil {
				proxied <- struct{}{}
				_ = c.Close()
			}
		}()
		t.Setenv("HTTPS_PROXY", "http://"+listener.Addr().String())
		f := plain(t)
		f.remote.Target = strings.Replace(f.remote.Target, "127.0.0.1", "localhost", 1)
		f.program.answer = steps(text("oi"))
		_, err = f.run(t, engine.Discard)
		require.NoError(t, err)
		require.Empty(t, proxied)
	})
}

// certificateOf is a certificate for 127.0.0.1, and who vouches for it.
func certificateOf(t testing.TB) (*tls.Certificate, *x509.CertPool) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &server.TLS.Certificates[0], roots
}

func TestManyTurnsShareAConnection(t *testing.T) {
	f := plain(t)
	pieces := make([]*agentv1.AnswerTurnResponse, 200)
	for i := range pieces {
		pieces[i] = text("ção ")
	}
	f.program.answer = steps(pieces...)
	e := f.engine(t)
	var all sync.WaitGroup
	for range 200 {
		turn := f.turn
		turn.NewID = func() string { return "" }
		all.Go(func() {
			sink := &told{}
			result, err := e.Run(t.Context(), turn, sink)
			if err != nil || len(sink.pieces) != 200 || textsOf(result)[0] != strings.Repeat("ção ", 200) {
				t.Errorf("%d pieces, %v", len(sink.pieces), err)
			}
		})
	}
	all.Wait()
}

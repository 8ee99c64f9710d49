package agent_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent"
	"github.com/prosa-chat/prosa/services/internal/id"
)

// desk is an agent that hands over on demand, and before that keeps something and sends a menu.
const desk = `
displayName: Loja
fallback: eco
intents:
  - {name: human, examples: [falar com atendente], goto: human}
  - {name: menu, examples: [mostrar menu], goto: menu}
nodes:
  eco:
    say: [{text: "eco: {{ input.text }} {{ context.kept }}"}]
  menu:
    set: {context.kept: "sim"}
    say: [{buttons: {text: "Qual?", options: [{label: Pedido, goto: order}]}}]
  order:
    say: [{text: "O pedido."}]
  human:
    say: [{text: "Vou chamar alguém."}]
    handoff: {squad: vendas}
`

// people are the calls with which people work.
type people struct {
	*fixture
	agentv1.HandoffServiceClient
	replies agentv1.ReplyTurnServiceClient
	turns   agentv1.TurnServiceClient
	agentID string
}

// peopleOf makes another service on the store of the fixture, as another process would.
func peopleOf(t *testing.T, f *fixture, agentID string, change func(d *agent.Deps)) *people {
	t.Helper()
	deps := f.deps
	deps.Metrics = nil
	if change != nil {
		change(&deps)
	}
	service, err := agent.New(agent.Config{}, deps)
	require.NoError(t, err)
	channel := &inprocgrpc.Channel{}
	service.Register(channel)
	return &people{
		fixture: f, HandoffServiceClient: agentv1.NewHandoffServiceClient(channel), replies: agentv1.NewReplyTurnServiceClient(channel),
		turns: agentv1.NewTurnServiceClient(channel), agentID: agentID,
	}
}

func (p *people) hear(ctx context.Context, messageID, text string) (*agentv1.RunTurnResponse, error) {
	return p.turns.RunTurn(ctx, &agentv1.RunTurnRequest{
		Instance: "acme", AgentId: p.agentID, MessageId: messageID, Source: "api_channel", EndpointId: "e1", Identifier: "joão",
		Text: text, AcceptTime: timestamppb.New(start),
	})
}

func (p *people) said(t *testing.T, messageID, text string) *agentv1.RunTurnResponse {
	t.Helper()
	answer, err := p.hear(t.Context(), messageID, text)
	require.NoError(t, err)
	return answer
}

func (p *people) reply(t *testing.T, messageID, interaction, text string) *agentv1.RunTurnResponse {
	t.Helper()
	answer, err := p.replies.RunReply(t.Context(), &agentv1.RunReplyRequest{
		Instance: "acme", InteractionId: interaction, MessageId: messageID, Text: text, AcceptTime: timestamppb.New(start.Add(time.Minute)),
	})
	require.NoError(t, err)
	return answer.GetTurn()
}

func (p *people) handBack(ctx context.Context, number int64) (*agentv1.Attendance, error) {
	response, err := p.HandBackAttendance(ctx, &agentv1.HandBackAttendanceRequest{Instance: "acme", Id: number})
	return response.GetAttendance(), err
}

func (p *people) finish(ctx context.Context, number int64) (*agentv1.Attendance, error) {
	response, err := p.FinishAttendance(ctx, &agentv1.FinishAttendanceRequest{Instance: "acme", Id: number})
	return response.GetAttendance(), err
}

func (p *people) lookup(ctx context.Context, number int64) (*agentv1.LookupHandoffResponse, error) {
	return p.replies.LookupHandoff(ctx, &agentv1.LookupHandoffRequest{Instance: "acme", AttendanceId: number})
}

func texts(r *agentv1.RunTurnResponse) (all []string) {
	for _, m := range r.GetMessages() {
		all = append(all, m.GetText().GetText()+m.GetButtons().GetText())
	}
	return all
}

// eachDesk runs a test with an agent of the definition above.
func eachDesk(t *testing.T, test func(t *testing.T, p *people)) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		created := f.create(t, "acme", &agentv1.Agent{Definition: yaml(desk)})
		test(t, peopleOf(t, f, created.GetId(), nil))
	})
}

func TestLifeOfAHandoff(t *testing.T) {
	eachDesk(t, func(t *testing.T, p *people) {
		menu := p.said(t, "m1", "mostrar menu")
		require.Equal(t, []string{"Qual?"}, texts(menu))
		interaction, number := menu.GetInteractionId(), menu.GetAttendanceId()
		_, err := p.lookup(t.Context(), number)
		requireReason(t, err, codes.FailedPrecondition, "ATTENDANCE_NOT_HANDED_OVER")
		_, err = p.handBack(t.Context(), number)
		requireReason(t, err, codes.FailedPrecondition, "ATTENDANCE_NOT_HANDED_OVER")

		require.Equal(t, []string{"Vou chamar alguém."}, texts(p.said(t, "m2", "quero falar com atendente")))
		require.Empty(t, p.said(t, "m3", "tem alguém aí?").GetMessages())
		found, err := p.lookup(t.Context(), number)
		require.NoError(t, err)
		requireEqual(t, &agentv1.LookupHandoffResponse{
			InteractionId: interaction, Source: "api_channel", EndpointId: "e1", Identifier: "joão",
		}, found)

		reply := p.reply(t, "r1", interaction, "Sou a Bia.")
		requireEqual(t, &agentv1.RunTurnResponse{
			ContactId: "c1", InteractionId: interaction, AttendanceId: number, Debug: &agentv1.TurnDebug{AgentVersion: 1},
			Messages: []*messagev1.Message{{
				Origin: messagev1.Origin_ORIGIN_HUMAN, CreateTime: timestamppb.New(start.Add(time.Minute).Truncate(time.Millisecond)),
				Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: "Sou a Bia."}},
			}},
		}, reply)
		requireEqual(t, reply, p.reply(t, "r1", interaction, "what a repetition says does not matter"))
		require.Empty(t, p.said(t, "m4", "1").GetMessages())

		back, err := p.handBack(t.Context(), number)
		require.NoError(t, err)
		requireEqual(t, &agentv1.Attendance{Id: number, InteractionId: interaction, State: agentv1.Attendance_BOT}, back)
		_, err = p.handBack(t.Context(), number)
		requireReason(t, err, codes.FailedPrecondition, "ATTENDANCE_NOT_HANDED_OVER")
		// The menu is closed, what is known is kept.
		after := p.said(t, "m5", "1")
		require.Equal(t, []string{"eco: 1 sim"}, texts(after))
		require.Equal(t, interaction, after.GetInteractionId())
		require.Equal(t, []string{"eco: Pedido sim"}, texts(p.said(t, "m6", "Pedido")))
		require.Equal(t, []string{"Qual?"}, texts(p.said(t, "m7", "mostrar menu")))
		require.Equal(t, []string{"O pedido."}, texts(p.said(t, "m8", "1")))

		finished, err := p.finish(t.Context(), number)
		require.NoError(t, err)
		requireEqual(t, &agentv1.Attendance{
			Id: number, InteractionId: interaction, State: agentv1.Attendance_FINISHED,
			FinishTime: timestamppb.New(start.Truncate(time.Microsecond)),
		}, finished)
		for name, call := range map[string]func() error{
			"finish":    func() error { _, err := p.finish(t.Context(), number); return err },
			"hand back": func() error { _, err := p.handBack(t.Context(), number); return err },
			"look up":   func() error { _, err := p.lookup(t.Context(), number); return err },
		} {
			t.Run(name, func(t *testing.T) { requireReason(t, call(), codes.FailedPrecondition, "ATTENDANCE_FINISHED") })
		}
		// Words that were taken before are stored nonetheless, where they belong.
		require.Equal(t, interaction, p.reply(t, "r2", interaction, "Até logo.").GetInteractionId())
		next := p.said(t, "m9", "oi")
		require.NotEqual(t, interaction, next.GetInteractionId())
		require.Equal(t, []string{"eco: oi "}, texts(next))

		defer p.run(t)()
		var got []string
		for range 12 {
			select {
			case turn := <-p.contacts.recorded:
				what := turn.GetTurnId()
				if turn.GetAnsweredByHuman() {
					what += " human: " + turn.GetAnswer()[0].GetText().GetText() + turn.GetUserText()
				}
				if turn.GetFinished() {
					what += " finished"
				}
				got = append(got, what)
			case <-time.After(10 * time.Second):
				require.FailNow(t, "turns were not recorded", got)
			}
		}
		require.Equal(t, []string{
			"m1", "m2", "m3", "r1 human: Sou a Bia.", "m4", "m5", "m6", "m7", "m8", "end." + interaction + " finished", "r2 human: Até logo.", "m9",
		}, got)
	})
}

func TestHandoffOfNobody(t *testing.T) {
	eachDesk(t, func(t *testing.T, p *people) {
		number := p.said(t, "m1", "falar com atendente").GetAttendanceId()
		for name, call := range map[string]func(instance string, number int64) error{
			"finish": func(instance string, number int64) error {
				_, err := p.FinishAttendance(t.Context(), &agentv1.FinishAttendanceRequest{Instance: instance, Id: number})
				return err
			},
			"hand back": func(instance string, number int64) error {
				_, err := p.HandBackAttendance(t.Context(), &agentv1.HandBackAttendanceRequest{Instance: instance, Id: number})
				return err
			},
			"look up": func(instance string, number int64) error {
				_, err := p.replies.LookupHandoff(t.Context(), &agentv1.LookupHandoffRequest{Instance: instance, AttendanceId: number})
				return err
			},
			"reply": func(instance string, number int64) error {
				interaction := "i1"
				if number != 1 {
					interaction = "i2"
				}
				_, err := p.replies.RunReply(t.Context(), &agentv1.RunReplyRequest{
					Instance: instance, InteractionId: interaction, MessageId: "r1", Text: "oi", AcceptTime: timestamppb.New(start),
				})
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				requireReason(t, call("other", number), codes.NotFound, "ATTENDANCE_NOT_FOUND")
				requireReason(t, call("acme", number+1), codes.NotFound, "ATTENDANCE_NOT_FOUND")
			})
		}
		require.Empty(t, p.said(t, "m2", "ainda aí?").GetMessages())
	})
}

// A key makes a repetition get the first answer, also when the conversation has gone on since.
func TestHandoffCallsWithAKey(t *testing.T) {
	eachDesk(t, func(t *testing.T, p *people) {
		number := p.said(t, "m1", "falar com atendente").GetAttendanceId()
		ctx := withKey(t.Context(), "k")
		back, err := p.handBack(ctx, number)
		require.NoError(t, err)
		require.Equal(t, []string{"eco: oi "}, texts(p.said(t, "m2", "oi")))
		p.said(t, "m3", "falar com atendente")
		again, err := p.handBack(ctx, number)
		require.NoError(t, err)
		requireEqual(t, back, again)
		require.Empty(t, p.said(t, "m4", "oi").GetMessages(), "the repetition gave nothing back")
		_, err = p.handBack(ctx, number+1)
		requireReason(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")

		// The key of one call is not that of another; a call that failed used none up.
		failing := withKey(t.Context(), "f")
		_, err = p.finish(failing, number+1)
		requireReason(t, err, codes.NotFound, "ATTENDANCE_NOT_FOUND")
		finished, err := p.finish(ctx, number)
		require.NoError(t, err)
		p.clock.Advance(time.Minute)
		again, err = p.finish(ctx, number)
		require.NoError(t, err)
		requireEqual(t, finished, again)
		require.Equal(t, number+1, p.said(t, "m5", "oi").GetAttendanceId())
		_, err = p.finish(failing, number+1)
		require.NoError(t, err)
	})
}

// barrier stops who comes by, once, from when it is armed.
type barrier struct {
	armed            atomic.Bool
	entered, release chan struct{}
}

func newBarrier() *barrier {
	return &barrier{entered: make(chan struct{}), release: make(chan struct{})}
}

func (b *barrier) pass() {
	if b.armed.CompareAndSwap(true, false) {
		close(b.entered)
		<-b.release
	}
}

// Read makes the barrier a source of randomness: the flow asks for some when it sends a menu.
func (b *barrier) Read(p []byte) (int, error) {
	b.pass()
	return rand.Read(p)
}

// stopping are instances behind a barrier: a turn looks its instance up when it has read where its conversation stands.
type stopping struct {
	agent.Instances
	barrier *barrier
}

func (s stopping) Get(ctx context.Context, slug string) (*accountsv1.Instance, error) {
	s.barrier.pass()
	return s.Instances.Get(ctx, slug)
}

// An answer that was computed before people acted is thrown away, and the message is answered on what is so then.
func TestTurnThatPeopleOvertake(t *testing.T) {
	behindIDs := func(p *people, b *barrier) func(*agent.Deps) {
		return func(d *agent.Deps) { d.IDs = id.NewSource(p.clock, b) }
	}
	behindInstances := func(p *people, b *barrier) func(*agent.Deps) {
		return func(d *agent.Deps) { d.Instances = stopping{p.instances, b} }
	}
	for _, c := range []struct {
		name   string
		behind func(p *people, b *barrier) func(*agent.Deps)
		handed bool
		text   string
		act    func(t *testing.T, p *people)
		want   string // the answer, and its attendance
	}{
		{
			"finish while the flow runs", behindIDs, false, "mostrar menu",
			func(t *testing.T, p *people) {
				_, err := p.finish(t.Context(), 1)
				require.NoError(t, err)
			},
			"Qual? in i2",
		},
		{
			"reply while the flow runs", behindIDs, false, "mostrar menu",
			func(t *testing.T, p *people) { p.reply(t, "r1", "i1", "Já volto.") },
			"Qual? in i1",
		},
		{
			"hand back while a silent turn runs", behindInstances, true, "oi",
			func(t *testing.T, p *people) {
				_, err := p.handBack(t.Context(), 1)
				require.NoError(t, err)
			},
			"eco: oi  in i1",
		},
		{
			"finish while a silent turn runs", behindInstances, true, "oi",
			func(t *testing.T, p *people) {
				_, err := p.finish(t.Context(), 1)
				require.NoError(t, err)
			},
			"eco: oi  in i2",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachDesk(t, func(t *testing.T, others *people) {
				b := newBarrier()
				p := peopleOf(t, others.fixture, others.agentID, c.behind(others, b))
				p.said(t, "m1", "olá")
				if c.handed {
					p.said(t, "m2", "falar com atendente")
				}
				b.armed.Store(true)
				type result struct {
					answer *agentv1.RunTurnResponse
					err    error
				}
				done := make(chan result, 1)
				go func() {
					answer, err := p.hear(t.Context(), "m3", c.text)
					done <- result{answer, err}
				}()
				<-b.entered
				c.act(t, others)
				close(b.release)
				got := <-done
				require.NoError(t, got.err)
				require.Equal(t, c.want, strings.Join(texts(got.answer), " ")+" in "+got.answer.GetInteractionId())
				again := p.said(t, "m3", c.text)
				require.True(t, proto.Equal(got.answer, again))
			})
		})
	}
}

// What one process remembers of a conversation does not hide what people did by another.
func TestPeopleAtAnotherProcess(t *testing.T) {
	eachDesk(t, func(t *testing.T, p *people) {
		others := peopleOf(t, p.fixture, p.agentID, nil)
		number := p.said(t, "m1", "falar com atendente").GetAttendanceId()
		require.Empty(t, p.said(t, "m2", "oi").GetMessages())
		others.reply(t, "r1", "i1", "Olá")
		require.Empty(t, p.said(t, "m3", "oi").GetMessages())
		_, err := others.handBack(t.Context(), number)
		require.NoError(t, err)
		require.Equal(t, []string{"eco: oi "}, texts(p.said(t, "m4", "oi")))
		_, err = others.finish(t.Context(), number)
		require.NoError(t, err)
		require.Equal(t, number+1, p.said(t, "m5", "oi").GetAttendanceId())
	})
}

// The context goes with the words where it is asked for.
func TestReplyWithContext(t *testing.T) {
	eachDesk(t, func(t *testing.T, p *people) {
		p.said(t, "m1", "mostrar menu")
		for name, want := range map[bool]string{true: "sim", false: ""} {
			answer, err := p.replies.RunReply(t.Context(), &agentv1.RunReplyRequest{
				Instance: "acme", InteractionId: "i1", MessageId: "r" + want, Text: "oi", AcceptTime: timestamppb.New(start), ReturnContext: name,
			})
			require.NoError(t, err)
			require.Equal(t, want, answer.GetTurn().GetContext().GetFields()["kept"].GetStringValue())
			require.Equal(t, name, answer.GetTurn().GetContext() != nil)
		}
	})
}

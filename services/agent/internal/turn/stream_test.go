package turn_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/flow"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
)

// watcher is a stream that remembers what it got.
type watcher struct {
	mu       sync.Mutex
	said     string
	pieces   []uint32
	messages []*messagev1.Message
	enough   chan struct{}
	barrier  *barrier
}

var _ turn.Stream = (*watcher)(nil)

// barrier is where a turn waits whose message is not on disk yet; nil where it is.
type barrier struct {
	reached chan struct{}
	known   chan error
}

func (w *watcher) Stored(context.Context) error {
	if w.barrier == nil {
		return nil
	}
	w.barrier.reached <- struct{}{}
	return <-w.barrier.known
}

func newWatcher() *watcher { return &watcher{enough: make(chan struct{})} }

func (w *watcher) Text(piece string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said += piece
	w.pieces = append(w.pieces, uint32(len(piece)))
}

func (w *watcher) Message(m *messagev1.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages, w.said = append(w.messages, m), ""
}

func (w *watcher) Restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages, w.said, w.pieces = nil, "", nil
}

func (w *watcher) Enough() <-chan struct{} { return w.enough }

func (w *watcher) Pieces() []uint32 { return w.pieces }

func (w *watcher) Partial() []*messagev1.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.said == "" {
		return w.messages
	}
	return append(w.messages, &messagev1.Message{Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: w.said}}})
}

// models is a model.
type models func(ctx context.Context, text func(string)) error

func (m models) Ask(ctx context.Context, _ string, _ *flow.Prompt, text func(piece string)) (*flow.Reply, error) {
	var all strings.Builder
	if err := m(ctx, func(piece string) { all.WriteString(piece); text(piece) }); err != nil {
		return nil, err
	}
	return &flow.Reply{Text: all.String(), Tokens: 1}, nil
}

// chatting is a message of the conversation API.
func chatting(messageID, text string) *agentv1.RunTurnRequest {
	m := message(messageID, text)
	m.Source, m.EndpointId, m.InteractionId = "agent", conversationID, conversationID
	return m
}

const (
	conversationID = "64a1b2c3d4e5f6a7b8c9d0e1"
	firstChat      = "64a1b2c3d4e5f6a7b8c9d0f1"
	secondChat     = "64a1b2c3d4e5f6a7b8c9d0f2"
)

// modelled is an agent that greets, and has a model.
func modelled() *agentv1.AgentDefinition {
	return &agentv1.AgentDefinition{
		DisplayName: "M", Model: &agentv1.Model{BaseUrl: "http://127.0.0.1/v1", Name: "m"},
		Nodes: map[string]*agentv1.Node{"none": {Say: []*agentv1.Say{say("fora do ar")}}}, Fallback: "none",
	}
}

func (f *fixture) show(t testing.TB, r *agentv1.RunTurnRequest, w *watcher) *agentv1.RunTurnResponse {
	t.Helper()
	response, err := f.runner.Run(t.Context(), r, w)
	require.NoError(t, err)
	again, err := f.runner.Run(t.Context(), r, engine.Discard)
	require.NoError(t, err)
	require.True(t, proto.Equal(response, again), "what is stored is what was given")
	return response
}

func (f *fixture) ask(m models) {
	f.deps.Models, f.deps.Past = m, noPast{}
	f.runner = turn.NewRunner(f.deps)
}

// noPast remembers nothing.
type noPast struct{}

func (noPast) Read(context.Context, string, *store.Conversation, int) ([]flow.Exchange, error) {
	return nil, nil
}

func TestShownAnswerKeepsItsPieces(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createAgent(t, "acme", "m1", modelled())
		f.ask(func(_ context.Context, text func(string)) error {
			for _, piece := range []string{"um ", "dois ", "três"} {
				text(piece)
			}
			return nil
		})
		r := chatting(firstChat, "oi")
		r.AgentId = "m1"
		w := newWatcher()
		response := f.show(t, r, w)
		require.Equal(t, []string{"um dois três"}, texts(response))
		require.Equal(t, w.pieces, response.GetPieces())
		require.False(t, response.GetInterrupted())
		require.Equal(t, conversationID, f.contacts.calls[0].GetInteractionId())
		require.Equal(t, conversationID, f.contacts.calls[0].GetRequestId())
	})
}

// An answer that somebody has enough of, or that fails in the middle, is kept as far as it came, and the conversation stands as before.
func TestShownAnswerThatBreaksOffIsKept(t *testing.T) {
	for name, failure := range map[string]string{"enough": "", "failed": "ANSWER_INTERRUPTED"} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				f.createAgent(t, "acme", "m1", modelled())
				w := newWatcher()
				f.ask(func(ctx context.Context, text func(string)) error {
					text("só um ")
					text("pedaço")
					if failure != "" {
						return &flow.Fault{Reason: "cut"}
					}
					close(w.enough)
					<-ctx.Done()
					return ctx.Err()
				})
				r := chatting(firstChat, "oi")
				r.AgentId = "m1"
				response := f.show(t, r, w)
				require.Equal(t, []string{"só um pedaço"}, texts(response))
				require.True(t, response.GetInterrupted())
				require.Equal(t, failure, response.GetFailure())
				require.Equal(t, 1, f.committed)

				f.ask(func(_ context.Context, text func(string)) error { text("e agora"); return nil })
				next := chatting(secondChat, "de novo")
				next.AgentId = "m1"
				require.Equal(t, []string{"e agora"}, texts(f.show(t, next, newWatcher())))
			})
		})
	}
}

// A turn whose process stops has no answer: it runs again.
func TestShownAnswerIsNotKeptWhenTheProcessStops(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createAgent(t, "acme", "m1", modelled())
		ctx, stop := context.WithCancel(t.Context())
		f.ask(func(ctx context.Context, text func(string)) error {
			text("um começo")
			stop()
			<-ctx.Done()
			return ctx.Err()
		})
		r := chatting(firstChat, "oi")
		r.AgentId = "m1"
		_, err := f.runner.Run(ctx, r, newWatcher())
		require.Error(t, err)
		require.Zero(t, f.count(t, "SELECT count(*) FROM turn"))
	})
}

// A model that fails before its first word is one that was not asked.
func TestShownAnswerOfTheFlowWhenTheModelIsSilent(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.createAgent(t, "acme", "m1", modelled())
		f.ask(func(context.Context, func(string)) error { return errors.New("away") })
		r := chatting(firstChat, "oi")
		r.AgentId = "m1"
		require.Equal(t, []string{"fora do ar"}, texts(f.show(t, r, newWatcher())))
	})
}

// With an identifier of its conversation a turn gives the same to the byte whenever it runs, and its conversation ends once.
func TestTurnOfAGivenConversation(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		menu := &agentv1.AgentDefinition{DisplayName: "Menu", Fallback: "menu", Nodes: map[string]*agentv1.Node{
			"menu": {Say: []*agentv1.Say{{Content: &agentv1.Say_Buttons{Buttons: &agentv1.SayButtons{
				Text: "{{ now }}", Options: []*agentv1.SayOption{{Label: "Fim", Goto: "bye"}},
			}}}}},
			"bye": {Say: []*agentv1.Say{say("Tchau.")}, End: true},
		}}
		run := func(instance string) *agentv1.RunTurnResponse {
			f.createAgent(t, instance, "menu", menu)
			r := chatting(firstChat, "oi")
			r.Instance, r.AgentId = instance, "menu"
			return f.show(t, r, newWatcher())
		}
		first := run("acme")
		f.clock.Advance(time.Minute)
		second := run("other")
		require.Len(t, first.GetMessages(), 1)
		require.NotEmpty(t, first.GetMessages()[0].GetMsgid())
		require.True(t, strings.HasPrefix(first.GetMessages()[0].GetMsgid(), "64a1b2c3"))
		require.True(t, proto.Equal(first.GetMessages()[0], second.GetMessages()[0]), "%v\n%v", first, second)

		last := chatting(secondChat, "Fim")
		last.AgentId, last.AcceptTime = "menu", timestamppb.New(start.Add(time.Minute))
		require.True(t, f.show(t, last, newWatcher()).GetFinished())
		late := chatting("64a1b2c3d4e5f6a7b8c9d0f3", "oi")
		late.AgentId = "menu"
		_, err := f.runner.Run(t.Context(), late, newWatcher())
		requireReason(t, err, codes.FailedPrecondition, "CONVERSATION_FINISHED")

		// One that ended because nothing happened is no other.
		late.Instance, late.AcceptTime = "other", timestamppb.New(start.Add(inactivity))
		_, err = f.runner.Run(t.Context(), late, newWatcher())
		requireReason(t, err, codes.FailedPrecondition, "CONVERSATION_FINISHED")
		require.Len(t, f.contacts.calls, 2)
	})
}

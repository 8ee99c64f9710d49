package chat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accountsv1 "github.com/prosa-chat/prosa/gen/go/prosa/accounts/v1"
	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const inactivity = time.Hour

// instances knows every instance.
type instances struct{}

func (instances) Get(_ context.Context, slug string) (*accountsv1.Instance, error) {
	return &accountsv1.Instance{Slug: slug, InactivityTimeout: durationpb.New(inactivity)}, nil
}

// tell gives an answer to a sink. ctx ends when nobody wants more of it.
type tell func(ctx context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error

// teller runs turns as turn.Runner does, with answers that a test tells.
type teller struct {
	store *store.Store
	mu    sync.Mutex
	tell  tell
	runs  int
}

func (r *teller) set(tell tell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell = tell
}

func (r *teller) ran() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs
}

// heard is a sink that remembers the messages.
type heard struct {
	turn.Stream
	messages []*messagev1.Message
}

func (h *heard) Message(m *messagev1.Message) {
	h.messages = append(h.messages, m)
	h.Stream.Message(m)
}

func (r *teller) Run(ctx context.Context, request *agentv1.RunTurnRequest, sink engine.Sink) (*agentv1.RunTurnResponse, error) {
	state, err := r.store.Chat(ctx, request.GetInstance(), request.GetEndpointId(), request.GetMessageId())
	if err != nil && !errors.Is(err, store.ErrNotFound) { // it is not on disk yet
		return nil, rpcerr.FromStore(err)
	}
	response := &agentv1.RunTurnResponse{}
	if state.Answer != nil {
		return response, proto.Unmarshal(state.Answer, response)
	}
	r.mu.Lock()
	tell := r.tell
	r.runs++
	r.mu.Unlock()
	stream := &heard{Stream: sink.(turn.Stream)}
	telling, enough := context.WithCancel(ctx)
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		select {
		case <-stream.Enough():
			enough()
		case <-telling.Done():
		}
	}()
	err = tell(telling, request, stream)
	enough()
	<-stop
	switch {
	case ctx.Err() != nil:
		return nil, rpcerr.FromStore(ctx.Err())
	case errors.Is(err, context.Canceled):
		response.Interrupted = true
	case errors.Is(err, errBroken):
		response.Interrupted, response.Failure = true, "ANSWER_INTERRUPTED"
	case err != nil:
		return nil, err
	}
	response.Messages, response.Pieces = stream.messages, stream.Pieces()
	if response.GetInterrupted() {
		response.Messages = stream.Partial()
	}
	if err := stream.Stored(ctx); err != nil {
		return nil, rpcerr.FromStore(err)
	}
	return response, r.commit(ctx, request, response)
}

func (r *teller) commit(ctx context.Context, request *agentv1.RunTurnRequest, response *agentv1.RunTurnResponse) error {
	lane := store.Lane{
		Instance: request.GetInstance(), AgentID: request.GetAgentId(), EndpointID: request.GetEndpointId(), Identifier: request.GetIdentifier(),
	}
	position, err := r.store.Position(ctx, lane, request.GetMessageId())
	if err != nil {
		return rpcerr.FromStore(err)
	}
	t := &store.Turn{Lane: lane, ID: request.GetMessageId(), Source: request.GetSource(), Record: []byte{}, Time: request.GetAcceptTime().AsTime()}
	if position.Conversation == nil {
		t.Conversation = store.Conversation{ID: request.GetInteractionId(), ContactID: "c1", AgentVersion: 1, AttendanceID: 1, FlowState: []byte{}}
	} else {
		t.Conversation = *position.Conversation
		t.Conversation.FlowState = []byte{}
	}
	var options proto.MarshalOptions
	if t.Answer, err = options.MarshalAppend([]byte{}, response); err != nil {
		return err
	}
	return rpcerr.FromStore(r.store.CommitTurn(ctx, t))
}

var errBroken = errors.New("broke off")

// said tells texts as whole messages.
func said(texts ...string) tell {
	return func(_ context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
		for _, text := range texts {
			sink.Message(words(r, text))
		}
		return nil
	}
}

// words is a text of the turn: the same whenever it runs.
func words(r *agentv1.RunTurnRequest, text string) *messagev1.Message {
	return &messagev1.Message{
		Origin: messagev1.Origin_ORIGIN_BOT, CreateTime: timestamppb.New(r.GetAcceptTime().AsTime().Truncate(time.Millisecond)),
		Content: &messagev1.Message_Text{Text: &messagev1.Text{Text: text}},
	}
}

// fixture is a chat service on a store, and how to make others on it.
type fixture struct {
	*chat.Service
	db      *sqldb.DB
	store   *store.Store
	runner  *teller
	clock   clock.Clock
	metrics *prometheus.Registry
	stop    func()
}

// eachEngine runs a test on both engines.
func eachEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	testkit.EachEngineOptions(t, store.Migrations(), "agent", func(t *testing.T, options sqldb.Options) {
		test(t, newFixture(t, options, clock.System()))
	})
}

func newFixture(t testing.TB, options sqldb.Options, c clock.Clock) *fixture {
	metrics := prometheus.NewRegistry()
	options.Metrics = metrics
	f := &fixture{db: testkit.Open(t, options), clock: c, metrics: metrics}
	f.store = store.New(f.db)
	f.createAgent(t)
	f.runner = &teller{store: f.store, tell: said("oi")}
	f.start(t, f.deps(t))
	return f
}

func (f *fixture) createAgent(t testing.TB) {
	t.Helper()
	for _, instance := range []string{"acme", "other"} {
		require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error {
			_, err := f.store.CreateAgent(ctx, tx, store.Agent{Instance: instance, ID: agentID, CreateTime: time.Unix(1, 0)},
				store.Version{Format: store.FormatYAML, Source: []byte("-"), Definition: []byte("-"), DisplayName: "A"})
			return err
		}))
	}
}

const agentID = "64a1b2c3d4e5f6a7b8c9d0e1"

func (f *fixture) deps(t testing.TB) chat.Deps {
	metrics, err := chat.NewMetrics(nil)
	require.NoError(t, err)
	return chat.Deps{
		Store: f.store, Runner: f.runner, Instances: instances{}, Clock: f.clock, IDs: id.NewSource(f.clock, nil),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: metrics, Holder: "h1",
	}
}

// start runs a service; stop ends it as a process that is killed ends: what runs is cut off.
func (f *fixture) start(t testing.TB, deps chat.Deps) {
	f.Service = chat.New(deps)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(f.stop)
}

// conversation makes a conversation.
func (f *fixture) conversation(t testing.TB) string {
	t.Helper()
	c := store.NewChat{
		Instance: "acme", ID: id.NewSource(f.clock, nil).New(), AgentID: agentID, Identifier: "joão", CreateTime: f.clock.Now(),
	}
	require.NoError(t, f.store.Write(t.Context(), func(ctx context.Context, tx sqldb.Tx) error { return f.store.CreateChat(ctx, tx, c) }))
	return c.ID
}

// say sends a message.
func (f *fixture) say(t testing.TB, conversation, text string) *chat.Interaction {
	t.Helper()
	interaction, err := f.Accept(t.Context(), chat.Message{Instance: "acme", ConversationID: conversation, Text: text})
	require.NoError(t, err)
	return interaction
}

// read reads an answer from a place to its end.
func read(t testing.TB, i *chat.Interaction, from chat.Place) []chat.Event {
	t.Helper()
	events, err := readTo(t.Context(), i, from)
	require.ErrorIs(t, err, io.EOF)
	return events
}

func readTo(ctx context.Context, i *chat.Interaction, from chat.Place) (all []chat.Event, err error) {
	for {
		events, err := i.Next(ctx, from)
		if err != nil {
			return all, err
		}
		all = append(all, events...)
		from = all[len(all)-1].At()
	}
}

// text is an answer as text.
func text(events []chat.Event) string {
	var all string
	for i := range events {
		all += events[i].Proto().GetToken().GetText()
	}
	return all
}

// shown is events as they are compared.
func shown(t testing.TB, events []chat.Event) []string {
	t.Helper()
	all := make([]string, len(events))
	for i := range events {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(events[i].Proto())
		require.NoError(t, err)
		all[i] = string(raw)
	}
	return all
}

func (f *fixture) count(t testing.TB, query string) int {
	t.Helper()
	var n int
	require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// commits is how many transactions the store has committed.
func (f *fixture) commits(t testing.TB) int {
	t.Helper()
	families, err := f.metrics.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "prosa_store_commits_total" {
			return int(family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return 0
}

func pieces(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("peça %d, ", i)
	}
	return all
}

// saysOnly has turns say a piece of their answer, and no more until they are stopped. The channel is closed when one has.
func (f *fixture) saysOnly(piece string) (told chan struct{}) {
	told = make(chan struct{})
	f.runner.set(func(ctx context.Context, _ *agentv1.RunTurnRequest, sink engine.Sink) error {
		sink.Text(piece)
		close(told)
		<-ctx.Done()
		return ctx.Err()
	})
	return told
}

package chat_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/agent/internal/turn"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// slowStore stores a message when it is let, or fails then.
type slowStore struct {
	*store.Store
	let chan error // what the commit fails with
	// stored says that it is done all the same.
	stored bool
}

func (s *slowStore) AcceptChat(
	ctx context.Context, t store.ChatTurn, key *idempotency.Key, lease store.ChatLease, most int,
) (store.AcceptedChat, error) {
	failure := <-s.let
	if failure != nil && !s.stored {
		return store.AcceptedChat{}, failure
	}
	accepted, err := s.Store.AcceptChat(ctx, t, key, lease, most)
	if failure != nil {
		return store.AcceptedChat{}, failure
	}
	return accepted, err
}

// seen is what a turn that runs ahead went through.
type seen struct {
	began chan string // the message's id
	ended chan error  // what it waited for in vain, nil when it went on
}

// watched tells an answer and what it goes through.
func watched() (tell, *seen) {
	s := &seen{began: make(chan string, 10), ended: make(chan error, 10)}
	return func(ctx context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
		sink.Text("eco: ")
		s.began <- r.GetMessageId()
		err := sink.(turn.Stream).Stored(ctx)
		if err == nil {
			sink.Message(words(r, "eco: "+r.GetText()))
		} else if !errors.Is(context.Cause(ctx), turn.ErrWithdrawn) {
			err = errors.New("withdrawn without an end of its context")
		}
		s.ended <- err
		return err
	}, s
}

// slow has the messages of a fixture stored when a test lets them, and counts what becomes of them.
func (f *fixture) slow(t testing.TB) (*slowStore, *prometheus.Registry) {
	t.Helper()
	f.stop()
	s, counted := &slowStore{Store: f.store, let: make(chan error)}, prometheus.NewRegistry()
	deps := f.deps(t)
	deps.Store = s
	var err error
	deps.Metrics, err = chat.NewMetrics(counted)
	require.NoError(t, err)
	f.start(t, deps)
	return s, counted
}

// accepting sends a message in the background.
func (f *fixture) accepting(t testing.TB, m chat.Message) chan func() (*chat.Interaction, error) {
	t.Helper()
	done := make(chan func() (*chat.Interaction, error), 1)
	go func() {
		i, err := f.Accept(context.WithoutCancel(t.Context()), m)
		done <- func() (*chat.Interaction, error) { return i, err }
	}()
	return done
}

func requireCounted(t testing.TB, counted *prometheus.Registry, answered, held string) {
	t.Helper()
	require.NoError(t, testutil.GatherAndCompare(counted, strings.NewReader(`
# HELP prosa_agent_chats_held Chat messages in this process that have no answer yet.
# TYPE prosa_agent_chats_held gauge
prosa_agent_chats_held `+held+`
# HELP prosa_agent_chats_total Chat messages by what became of them: answered, failed, stopped, or refused because the queue was full.
# TYPE prosa_agent_chats_total counter
prosa_agent_chats_total{outcome="answered"} `+answered+`
prosa_agent_chats_total{outcome="failed"} 0
prosa_agent_chats_total{outcome="queue_full"} 0
prosa_agent_chats_total{outcome="stopped"} 0
`)))
}

// A turn begins while its message is being stored, and nobody sees anything of it before.
func TestTurnRunsWhileItsMessageIsStored(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		conversation := f.conversation(t)
		tell, s := watched()
		f.runner.set(tell)
		slow, counted := f.slow(t)
		accepting := f.accepting(t, chat.Message{Instance: "acme", ConversationID: conversation, Text: "oi"})
		id := <-s.began
		_, err := f.Find(t.Context(), "acme", conversation, id)
		refusedWith(t, err, codes.NotFound, "MESSAGE_NOT_FOUND")
		stopped, err := f.Stop(t.Context(), "acme", conversation)
		require.NoError(t, err)
		require.Empty(t, stopped, "what is not said has no turn")
		require.Empty(t, accepting)
		require.Zero(t, f.count(t, "SELECT count(*) FROM turn"))
		require.Zero(t, f.count(t, "SELECT count(*) FROM chat_turn"))

		slow.let <- nil
		interaction, err := (<-accepting)()
		require.NoError(t, err)
		require.Equal(t, id, interaction.ID)
		require.Equal(t, "eco: oi", text(read(t, interaction, chat.Beginning())))
		require.NoError(t, <-s.ended)
		require.Equal(t, 1, f.runner.ran(), "it was not run again")
		f.stop()
		requireCounted(t, counted, "1", "0")
	})
}

// A message that is not taken leaves nothing of its turn.
func TestTurnOfAMessageThatIsNotStoredIsWithdrawn(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		stored bool
	}{{"refused", sqldb.ErrUnavailable, false}, {"nobody knows", sqldb.ErrUnknownOutcome, true}} {
		t.Run(test.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, f *fixture) {
				conversation := f.conversation(t)
				tell, s := watched()
				f.runner.set(tell)
				slow, counted := f.slow(t)
				slow.stored = test.stored
				accepting := f.accepting(t, chat.Message{Instance: "acme", ConversationID: conversation, Text: "oi"})
				id := <-s.began
				slow.let <- test.err
				_, err := (<-accepting)()
				require.ErrorIs(t, err, test.err)
				require.ErrorIs(t, <-s.ended, turn.ErrWithdrawn)
				require.Zero(t, f.count(t, "SELECT count(*) FROM turn"))
				f.stop()
				requireCounted(t, counted, "0", "0")

				f.start(t, f.deps(t))
				found, err := f.Find(t.Context(), "acme", conversation, id)
				if !test.stored {
					refusedWith(t, err, codes.NotFound, "MESSAGE_NOT_FOUND")
					require.Equal(t, "eco: de novo", text(read(t, f.say(t, conversation, "de novo"), chat.Beginning())))
					return
				}
				require.NoError(t, err)
				require.Equal(t, "eco: oi", text(read(t, found, chat.Beginning())), "it was stored, so it has its turn")
				require.Equal(t, 1, f.count(t, "SELECT count(*) FROM turn"))
			})
		})
	}
}

// A message with a key may be a repetition, and one behind others has to wait: neither runs ahead.
func TestWhatDoesNotRunAhead(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		tell, let, began := held()
		f.runner.set(tell)
		slow, _ := f.slow(t)
		keyed := f.accepting(t, chat.Message{Instance: "acme", ConversationID: f.conversation(t), Text: "oi", Key: &idempotency.Key{
			Instance: "acme", Scope: "chat", Key: "k",
		}})
		conversation := f.conversation(t)
		first := f.accepting(t, chat.Message{Instance: "acme", ConversationID: conversation, Text: "um"})
		require.Equal(t, "um", <-began, "only this one runs before it is stored")
		slow.let <- nil
		slow.let <- nil
		for _, accepting := range []chan func() (*chat.Interaction, error){keyed, first} {
			_, err := (<-accepting)()
			require.NoError(t, err)
		}
		require.Equal(t, "oi", <-began)
		second := f.accepting(t, chat.Message{Instance: "acme", ConversationID: conversation, Text: "dois"})
		slow.let <- errors.New("test")
		_, err := (<-second)()
		require.Error(t, err)
		require.Empty(t, began)
		close(let)
	})
}

// A process that stops while a message is being stored leaves it to the next start.
func TestProcessStopsWhileAMessageIsStored(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		conversation := f.conversation(t)
		began := make(chan struct{}, 10)
		f.runner.set(func(ctx context.Context, _ *agentv1.RunTurnRequest, _ engine.Sink) error {
			began <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		slow, counted := f.slow(t)
		accepting := f.accepting(t, chat.Message{Instance: "acme", ConversationID: conversation, Text: "oi"})
		<-began
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			f.stop()
		}()
		slow.let <- nil
		interaction, err := (<-accepting)()
		require.NoError(t, err)
		_, err = readTo(t.Context(), interaction, chat.Beginning())
		refusedWith(t, err, codes.Unavailable, "UNAVAILABLE")
		<-stopped
		requireCounted(t, counted, "0", "0")

		f.runner.set(said("eco: oi"))
		f.start(t, f.deps(t))
		found, err := f.Find(t.Context(), "acme", conversation, interaction.ID)
		require.NoError(t, err)
		require.Equal(t, "eco: oi", text(read(t, found, chat.Beginning())))
	})
}

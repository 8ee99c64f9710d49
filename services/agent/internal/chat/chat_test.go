package chat_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/id"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

func refusedWith(t testing.TB, err error, code codes.Code, reason string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, reason, rpcerr.Reason(err), "%v", err)
	require.Equal(t, code, rpcerr.Code(err))
}

// held makes turns wait until they are let go, one at a time, and tells what they heard.
func held() (tell, chan struct{}, chan string) {
	let, began := make(chan struct{}), make(chan string, 100)
	return func(ctx context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
		began <- r.GetText()
		select {
		case <-let:
		case <-ctx.Done():
			return ctx.Err()
		}
		sink.Message(words(r, "eco: "+r.GetText()))
		return nil
	}, let, began
}

func TestMessagesOfAConversationHaveTheirTurnsInOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		tell, let, began := held()
		f.runner.set(tell)
		conversation, other := f.conversation(t), f.conversation(t)
		first, second := f.say(t, conversation, "um"), f.say(t, conversation, "dois")
		require.Equal(t, "um", <-began)
		elsewhere := f.say(t, other, "três")
		require.Equal(t, "três", <-began, "another conversation waits for nobody")
		require.Empty(t, began)
		let <- struct{}{}
		let <- struct{}{}
		let <- struct{}{}
		require.Equal(t, "eco: um", text(read(t, first, chat.Beginning())))
		require.Equal(t, "eco: dois", text(read(t, second, chat.Beginning())))
		require.Equal(t, "eco: três", text(read(t, elsewhere, chat.Beginning())))
	})
}

// Ten messages wait behind the one that has its turn; the next is refused and leaves nothing behind.
func TestQueueIsBounded(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		tell, let, began := held()
		f.runner.set(tell)
		conversation := f.conversation(t)
		waiting := []*chat.Interaction{f.say(t, conversation, "0")}
		<-began
		for i := range chat.Queue {
			waiting = append(waiting, f.say(t, conversation, fmt.Sprint(i+1)))
		}
		key := &idempotency.Key{Instance: "acme", Scope: "chat", Key: "k"}
		_, err := f.Accept(t.Context(), chat.Message{Instance: "acme", ConversationID: conversation, Text: "11", Key: key})
		refusedWith(t, err, codes.ResourceExhausted, "CHAT_QUEUE_FULL")
		after, ok := rpcerr.RetryAfter(err)
		require.True(t, ok)
		require.Equal(t, time.Second, after)
		require.Equal(t, chat.Queue+1, f.count(t, "SELECT count(*) FROM chat_turn"))
		require.Zero(t, f.count(t, "SELECT count(*) FROM idempotency"))
		f.say(t, f.conversation(t), "another conversation has its own queue")
		<-began

		let <- struct{}{}
		let <- struct{}{}
		read(t, waiting[0], chat.Beginning())
		waiting = append(waiting, f.say(t, conversation, "11"))
		close(let)
		for i, interaction := range waiting {
			require.Equal(t, fmt.Sprintf("eco: %d", i), text(read(t, interaction, chat.Beginning())))
		}
	})
}

// Fifty messages at once: as many are taken as may be, and all of those are answered, each once.
func TestManyMessagesAtOnceInOneConversation(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		tell, let, _ := held()
		f.runner.set(tell)
		conversation := f.conversation(t)
		var group sync.WaitGroup
		taken := make(chan *chat.Interaction, 50)
		for range 50 {
			group.Go(func() {
				interaction, err := f.Accept(t.Context(), chat.Message{Instance: "acme", ConversationID: conversation, Text: "oi"})
				if err == nil {
					taken <- interaction
					return
				}
				assert.Equal(t, "CHAT_QUEUE_FULL", rpcerr.Reason(err))
			})
		}
		group.Wait()
		close(taken)
		require.Len(t, taken, chat.Queue+1)
		close(let)
		for interaction := range taken {
			require.Equal(t, "eco: oi", text(read(t, interaction, chat.Beginning())))
		}
		require.Equal(t, chat.Queue+1, f.count(t, "SELECT count(*) FROM turn"))
	})
}

func TestSameKeyIsTheSameInteraction(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		tell, let, began := held()
		f.runner.set(tell)
		conversation := f.conversation(t)
		m := chat.Message{Instance: "acme", ConversationID: conversation, Text: "oi", Key: &idempotency.Key{
			Instance: "acme", Scope: "chat", Key: "k", Fingerprint: [32]byte{1},
		}}
		var group sync.WaitGroup
		ids := make(chan string, 50)
		for range 50 {
			group.Go(func() {
				interaction, err := f.Accept(t.Context(), m)
				if assert.NoError(t, err) {
					ids <- interaction.ID
					events, _ := readTo(t.Context(), interaction, chat.Beginning())
					assert.Equal(t, "eco: oi", text(events))
				}
			})
		}
		<-began
		first := <-ids
		for range 49 {
			require.Equal(t, first, <-ids)
		}
		close(let)
		group.Wait()
		require.Equal(t, 1, f.count(t, "SELECT count(*) FROM turn"))

		f.stop()
		f.start(t, f.deps(t))
		again, err := f.Accept(t.Context(), m)
		require.NoError(t, err)
		require.Equal(t, first, again.ID)
		require.Equal(t, "eco: oi", text(read(t, again, chat.Beginning())))
		require.Equal(t, 1, f.runner.ran())
		m.Key.Fingerprint = [32]byte{2}
		_, err = f.Accept(t.Context(), m)
		refusedWith(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
	})
}

// Whoever leaves stops nothing.
func TestCallerThatLeavesStopsNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		tell, let, began := held()
		f.runner.set(tell)
		conversation := f.conversation(t)
		ctx, leave := context.WithCancel(t.Context())
		running, err := f.Accept(ctx, chat.Message{Instance: "acme", ConversationID: conversation, Text: "oi"})
		require.NoError(t, err)
		<-began
		leave()
		_, err = running.Next(ctx, chat.Beginning())
		require.ErrorIs(t, err, context.Canceled)
		close(let)
		again, err := f.Find(t.Context(), "acme", conversation, running.ID)
		require.NoError(t, err)
		require.Equal(t, "eco: oi", text(read(t, again, chat.Beginning())))
	})
}

func TestStopKeepsWhatWasSaid(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		conversation := f.conversation(t)
		stopped, err := f.Stop(t.Context(), "acme", conversation)
		require.NoError(t, err)
		require.Empty(t, stopped, "nothing runs")
		f.runner.set(func(ctx context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
			sink.Message(words(r, "inteira"))
			sink.Text("só um ")
			sink.Text("pedaço")
			<-ctx.Done()
			return ctx.Err()
		})
		running, next := f.say(t, conversation, "oi"), f.say(t, conversation, "mais")
		place := chat.Beginning()
		var seen []chat.Event
		for len(seen) < 4 {
			events, err := running.Next(t.Context(), place)
			require.NoError(t, err)
			seen = append(seen, events...)
			place = seen[len(seen)-1].At()
		}
		f.runner.set(said("próxima"))
		stopped, err = f.Stop(t.Context(), "acme", conversation)
		require.NoError(t, err)
		require.Equal(t, running.ID, stopped)
		seen = append(seen, read(t, running, place)...)
		require.Equal(t, "inteira\n\nsó um pedaço", text(seen))
		done := seen[len(seen)-1].Done()
		require.True(t, done.GetInterrupted())
		require.Len(t, done.GetMessages(), 2)
		require.Equal(t, "só um pedaço", done.GetMessages()[1].GetText().GetText())
		require.Equal(t, "próxima", text(read(t, next, chat.Beginning())), "what waits has its turn")

		again, err := f.Find(t.Context(), "acme", conversation, running.ID)
		require.NoError(t, err)
		require.Equal(t, shown(t, seen), shown(t, read(t, again, chat.Beginning())))
	})
}

// An agent that fails in the middle leaves what it said, and an error in place of an end: also for who reads it later.
func TestBrokenAnswerNeverLooksWhole(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.runner.set(func(_ context.Context, _ *agentv1.RunTurnRequest, sink engine.Sink) error {
			sink.Text("só um ")
			sink.Text("pedaço")
			return errBroken
		})
		conversation := f.conversation(t)
		running := f.say(t, conversation, "oi")
		for range 2 {
			events, err := readTo(t.Context(), running, chat.Beginning())
			refusedWith(t, err, codes.Unavailable, "ANSWER_INTERRUPTED")
			require.Equal(t, "só um pedaço", text(events))
			running, err = f.Find(t.Context(), "acme", conversation, running.ID)
			require.NoError(t, err)
		}
	})
}

func TestMessageThatCanHaveNoTurnFailsForGood(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		for reason, made := range map[string]struct {
			err  error
			code codes.Code
		}{
			"AGENT_NOT_FOUND": {rpcerr.New(codes.NotFound, agentv1.ErrorReason_ERROR_REASON_AGENT_NOT_FOUND, "no such agent"), codes.NotFound},
			"INTERNAL":        {rpcerr.Internal(errors.New("secret")), codes.Internal},
		} {
			f.runner.set(func(context.Context, *agentv1.RunTurnRequest, engine.Sink) error { return made.err })
			conversation := f.conversation(t)
			running := f.say(t, conversation, "oi")
			_, err := running.Next(t.Context(), chat.Beginning())
			refusedWith(t, err, made.code, reason)
			f.runner.set(said("agora sim"))
			require.Equal(t, "agora sim", text(read(t, f.say(t, conversation, "e agora"), chat.Beginning())), "it blocks nobody")
			f.stop()
			f.start(t, f.deps(t))
			again, err := f.Find(t.Context(), "acme", conversation, running.ID)
			require.NoError(t, err)
			_, err = again.Next(t.Context(), chat.Beginning())
			refusedWith(t, err, made.code, reason)
		}
	})
}

func TestTurnThatFailsForNowIsTriedAgain(t *testing.T) {
	testkit.EachEngineOptions(t, store.Migrations(), "agent", func(t *testing.T, options sqldb.Options) {
		c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		f := newFixture(t, options, c)
		failed := make(chan struct{})
		f.runner.set(func(_ context.Context, _ *agentv1.RunTurnRequest, sink engine.Sink) error {
			sink.Text("um começo")
			close(failed)
			return rpcerr.Unavailable(errors.New("away"))
		})
		running := f.say(t, f.conversation(t), "oi")
		<-failed
		f.runner.set(func(context.Context, *agentv1.RunTurnRequest, engine.Sink) error { panic(errors.New("test")) })
		for f.runner.ran() < 2 {
			c.Advance(10 * time.Millisecond)
			runtime.Gosched()
		}
		f.runner.set(said("um começo e um fim"))
		for f.runner.ran() < 3 {
			c.Advance(10 * time.Millisecond)
			runtime.Gosched()
		}
		require.Equal(t, "um começo e um fim", text(read(t, running, chat.Beginning())))
		require.Equal(t, 3, f.runner.ran())
	})
}

// A turn that panics each time is set aside, and so is one in which the process died each time.
func TestTurnThatAlwaysPanicsIsSetAside(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		f.runner.set(func(context.Context, *agentv1.RunTurnRequest, engine.Sink) error { panic("a person's words") })
		conversation := f.conversation(t)
		_, err := f.say(t, conversation, "oi").Next(t.Context(), chat.Beginning())
		refusedWith(t, err, codes.Internal, "INTERNAL")
		require.Equal(t, 3, f.runner.ran())

		tell, _, began := held()
		f.runner.set(tell)
		deadly := f.say(t, conversation, "oi")
		for range 3 {
			<-began
			f.stop()
			f.start(t, f.deps(t))
		}
		<-began
		f.stop()
		f.runner.set(said("nunca"))
		f.start(t, f.deps(t))
		again, err := f.Find(t.Context(), "acme", conversation, deadly.ID)
		require.NoError(t, err)
		_, err = again.Next(t.Context(), chat.Beginning())
		refusedWith(t, err, codes.Internal, "INTERNAL")
	})
}

func TestConversationsThatTakeNoMessages(t *testing.T) {
	testkit.EachEngineOptions(t, store.Migrations(), "agent", func(t *testing.T, options sqldb.Options) {
		c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		f := newFixture(t, options, c)
		accept := func(instance, conversation string) error {
			_, err := f.Accept(t.Context(), chat.Message{Instance: instance, ConversationID: conversation, Text: "oi"})
			return err
		}
		conversation := f.conversation(t)
		for _, unknown := range []string{id.NewSource(c, nil).New(), "", "x", "\x00", strings.Repeat("a", 25)} {
			refusedWith(t, accept("acme", unknown), codes.NotFound, "CONVERSATION_NOT_FOUND")
			_, err := f.Stop(t.Context(), "acme", unknown)
			refusedWith(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND")
			_, err = f.Find(t.Context(), "acme", conversation, unknown)
			refusedWith(t, err, codes.NotFound, "MESSAGE_NOT_FOUND")
		}
		refusedWith(t, accept("other", conversation), codes.NotFound, "CONVERSATION_NOT_FOUND")
		running := f.say(t, conversation, "oi")
		read(t, running, chat.Beginning())
		_, err := f.Find(t.Context(), "other", conversation, running.ID)
		refusedWith(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND")
		_, err = f.Find(t.Context(), "acme", f.conversation(t), running.ID)
		refusedWith(t, err, codes.NotFound, "MESSAGE_NOT_FOUND")

		// That of a channel.
		ids := id.NewSource(c, nil)
		owned := &store.Turn{
			Lane: store.Lane{Instance: "acme", AgentID: agentID, EndpointID: "e1", Identifier: "ana"}, ID: ids.New(), Source: "api_channel",
			Conversation: store.Conversation{ID: ids.New(), ContactID: "c1", AgentVersion: 1, AttendanceID: 2, FlowState: []byte{}},
			Answer:       []byte{}, Record: []byte{}, Time: c.Now(),
		}
		require.NoError(t, f.store.CommitTurn(t.Context(), owned))
		refusedWith(t, accept("acme", owned.Conversation.ID), codes.FailedPrecondition, "CONVERSATION_OWNED_BY_CHANNEL")

		// One in which nothing happened for too long; but not for its keys.
		c.Advance(inactivity - time.Microsecond)
		key := &idempotency.Key{Instance: "acme", Scope: "chat", Key: "k", Fingerprint: [32]byte{1}}
		keyed := chat.Message{Instance: "acme", ConversationID: conversation, Text: "oi", Key: key}
		last, err := f.Accept(t.Context(), keyed)
		require.NoError(t, err)
		read(t, last, chat.Beginning())
		c.Advance(inactivity)
		refusedWith(t, accept("acme", conversation), codes.FailedPrecondition, "CONVERSATION_FINISHED")
		again, err := f.Accept(t.Context(), keyed)
		require.NoError(t, err)
		require.Equal(t, last.ID, again.ID)
		keyed.Key = &idempotency.Key{Instance: "acme", Scope: "chat", Key: "k2"}
		_, err = f.Accept(t.Context(), keyed)
		refusedWith(t, err, codes.FailedPrecondition, "CONVERSATION_FINISHED")
		require.Equal(t, 1, f.count(t, "SELECT count(*) FROM idempotency"))
	})
}

// What runs when the process stops may end if it does so soon, and goes on at the next start otherwise.
func TestStopWaitsForWhatRuns(t *testing.T) {
	eachEngine(t, func(t *testing.T, f *fixture) {
		tell, let, began := held()
		f.runner.set(tell)
		f.stop()
		deps := f.deps(t)
		deps.Grace = time.Minute
		f.start(t, deps)
		conversation := f.conversation(t)
		running := f.say(t, conversation, "oi")
		<-began
		go func() { let <- struct{}{} }()
		f.stop()
		require.Equal(t, "eco: oi", text(read(t, running, chat.Beginning())))
		_, err := f.Accept(t.Context(), chat.Message{Instance: "acme", ConversationID: conversation, Text: "tarde"})
		refusedWith(t, err, codes.Unavailable, "UNAVAILABLE")
		require.Equal(t, 1, f.count(t, "SELECT count(*) FROM chat_turn"))
	})
}

func TestWhatIsDoneWithIsSweptAway(t *testing.T) {
	testkit.EachEngineOptions(t, store.Migrations(), "agent", func(t *testing.T, options sqldb.Options) {
		c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		f := newFixture(t, options, c)
		read(t, f.say(t, f.conversation(t), "oi"), chat.Beginning())
		f.runner.set(func(context.Context, *agentv1.RunTurnRequest, engine.Sink) error { return rpcerr.Internal(nil) })
		_, err := f.say(t, f.conversation(t), "oi").Next(t.Context(), chat.Beginning())
		require.Error(t, err)
		require.Equal(t, 2, f.count(t, "SELECT count(*) FROM chat_turn"))
		for f.count(t, "SELECT count(*) FROM chat_turn") > 1 {
			c.AwaitTimers(1)
			c.Advance(5 * time.Second)
		}
		require.Less(t, c.Now().Sub(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), 24*time.Hour)
		c.Advance(24 * time.Hour)
		for f.count(t, "SELECT count(*) FROM chat_turn") > 0 {
			c.AwaitTimers(1)
			c.Advance(5 * time.Second)
		}
	})
}

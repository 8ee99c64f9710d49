package chat_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	"github.com/prosa-chat/prosa/services/agent/internal/chat"
	"github.com/prosa-chat/prosa/services/agent/internal/engine"
	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/idempotency"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// eachPair runs a test on two processes with one store, of which the clock is the test's. Only PostgreSQL can be shared; what the
// statements mean is the same on both.
func eachPair(t *testing.T, test func(t *testing.T, c *clock.Manual, one, two *fixture)) {
	t.Helper()
	eachTellingPair(t, nil, nil, test)
}

// eachTellingPair is eachPair for processes that tell each other of something.
func eachTellingPair(
	t *testing.T, tellOne, tellTwo func(one, two *fixture) func(topic, subject string), test func(t *testing.T, c *clock.Manual, one, two *fixture),
) {
	testkit.EachEngineOptions(t, store.Migrations(), "agent", func(t *testing.T, options sqldb.Options) {
		c := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		one := newFixture(t, options, c)
		one.stop()
		two := &fixture{db: one.db, store: one.store, clock: c, metrics: one.metrics, runner: &teller{store: one.store, tell: said("oi")}}
		deps := one.deps(t)
		deps.Shared = true
		if tellTwo != nil {
			deps.Tell = tellTwo(one, two)
		}
		one.start(t, deps)
		deps = two.deps(t)
		deps.Shared, deps.Holder, deps.Runner = true, "h2", two.runner
		if tellOne != nil {
			deps.Tell = tellOne(one, two)
		}
		two.start(t, deps)
		test(t, c, one, two)
	})
}

// pass lets time go by until something has happened.
func pass(t testing.TB, c *clock.Manual, happened <-chan struct{}) {
	t.Helper()
	for {
		select {
		case <-happened:
			return
		case <-t.Context().Done():
			t.Fatal("it does not happen")
		default:
			c.Advance(20 * time.Millisecond)
			time.Sleep(time.Millisecond) //nolint:forbidigo // else the longest turn is over before the store has answered
		}
	}
}

// following reads an answer to its end in the background.
func following(t testing.TB, i *chat.Interaction) (all *[]chat.Event, ended chan struct{}) {
	t.Helper()
	all, ended = new([]chat.Event), make(chan struct{})
	go func() {
		defer close(ended)
		*all, _ = readTo(t.Context(), i, chat.Beginning())
	}()
	return all, ended
}

// A message waits for the turns of its conversation that other processes have, and its key and its answer are known everywhere.
func TestProcessesTakeTurns(t *testing.T) {
	eachPair(t, func(t *testing.T, c *clock.Manual, one, two *fixture) {
		conversation := one.conversation(t)
		tell, let, began := held()
		one.runner.set(tell)
		key := &idempotency.Key{Instance: "acme", Scope: "chat", Key: "k", Fingerprint: [32]byte{1}}
		first, err := one.Accept(t.Context(), chat.Message{Instance: "acme", ConversationID: conversation, Text: "um", Key: key})
		require.NoError(t, err)
		<-began
		two.runner.set(said("dois"))
		second := two.say(t, conversation, "dois")
		secondEvents, secondEnded := following(t, second)
		again, err := two.Accept(t.Context(), chat.Message{Instance: "acme", ConversationID: conversation, Text: "um", Key: key})
		require.NoError(t, err)
		require.Equal(t, first.ID, again.ID)
		firstEvents, firstEnded := following(t, again)
		for range 50 {
			c.Advance(100 * time.Millisecond)
			runtime.Gosched()
		}
		require.Zero(t, two.count(t, "SELECT count(*) FROM turn"), "it is not its turn")
		close(let)
		pass(t, c, firstEnded)
		pass(t, c, secondEnded)
		require.Equal(t, "eco: um", text(*firstEvents))
		require.Equal(t, "dois", text(*secondEvents))
		require.Equal(t, shown(t, read(t, first, chat.Beginning())), shown(t, *firstEvents))
	})
}

// A turn can be stopped by way of a process that does not run it.
func TestOtherProcessStopsATurn(t *testing.T) {
	eachPair(t, func(t *testing.T, c *clock.Manual, one, two *fixture) {
		conversation := one.conversation(t)
		told := one.saysOnly("só um pedaço")
		running := one.say(t, conversation, "oi")
		<-told
		id, err := two.Stop(t.Context(), "acme", conversation)
		require.NoError(t, err)
		require.Equal(t, running.ID, id)
		events, ended := following(t, running)
		pass(t, c, ended)
		require.Equal(t, "só um pedaço", text(*events))
		require.True(t, (*events)[len(*events)-1].Done().GetInterrupted())
		id, err = two.Stop(t.Context(), "acme", conversation)
		require.NoError(t, err)
		require.Empty(t, id)
	})
}

// What a process that died had accepted is taken over by another one, and not before it is known to be dead.
func TestOtherProcessTakesOver(t *testing.T) {
	eachPair(t, func(t *testing.T, c *clock.Manual, one, two *fixture) {
		conversation := one.conversation(t)
		tell, _, began := held()
		one.runner.set(tell)
		first, second := one.say(t, conversation, "um"), one.say(t, conversation, "dois")
		<-began
		one.stop()
		two.runner.set(func(_ context.Context, r *agentv1.RunTurnRequest, sink engine.Sink) error {
			sink.Message(words(r, "agora "+r.GetText()))
			return nil
		})
		died := c.Now()
		firstAgain, err := two.Find(t.Context(), "acme", conversation, first.ID)
		require.NoError(t, err)
		secondAgain, err := two.Find(t.Context(), "acme", conversation, second.ID)
		require.NoError(t, err)
		events, ended := following(t, firstAgain)
		pass(t, c, ended)
		require.Equal(t, "agora um", text(*events))
		require.GreaterOrEqual(t, c.Now().Sub(died), 6*time.Second)
		events, ended = following(t, secondAgain)
		pass(t, c, ended)
		require.Equal(t, "agora dois", text(*events))
	})
}

// eachHearingPair is eachPair for processes that hear of each other. The clock stands: nothing is found by a poll.
func eachHearingPair(t *testing.T, test func(t *testing.T, one, two *fixture)) {
	t.Helper()
	eachTellingPair(t,
		func(one, _ *fixture) func(topic, subject string) {
			return func(topic, subject string) { one.Heard(topic, subject) }
		},
		func(_, two *fixture) func(topic, subject string) {
			return func(topic, subject string) { two.Heard(topic, subject) }
		},
		func(t *testing.T, _ *clock.Manual, one, two *fixture) { test(t, one, two) })
}

func await(t testing.TB, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-t.Context().Done():
	case <-time.After(20 * time.Second):
		t.Fatal("it does not happen")
	}
}

// The end of a turn is heard by who waits for its answer, and for its own turn after it.
func TestEndIsHeard(t *testing.T) {
	eachHearingPair(t, func(t *testing.T, one, two *fixture) {
		conversation := one.conversation(t)
		tell, let, began := held()
		one.runner.set(tell)
		first := one.say(t, conversation, "um")
		<-began
		two.runner.set(said("dois"))
		second := two.say(t, conversation, "dois")
		distant, err := two.Find(t.Context(), "acme", conversation, first.ID)
		require.NoError(t, err)
		firstEvents, firstEnded := following(t, distant)
		secondEvents, secondEnded := following(t, second)
		close(let)
		await(t, firstEnded)
		await(t, secondEnded)
		require.Equal(t, "eco: um", text(*firstEvents))
		require.Equal(t, "dois", text(*secondEvents))
	})
}

func TestStopIsHeard(t *testing.T) {
	eachHearingPair(t, func(t *testing.T, one, two *fixture) {
		conversation := one.conversation(t)
		told := one.saysOnly("só um pedaço")
		running := one.say(t, conversation, "oi")
		<-told
		_, err := two.Stop(t.Context(), "acme", conversation)
		require.NoError(t, err)
		events, ended := following(t, running)
		await(t, ended)
		require.True(t, (*events)[len(*events)-1].Done().GetInterrupted())
	})
}

// Once the leases of a process that died are taken back, another one has its turns at once.
func TestDeathIsHeard(t *testing.T) {
	eachHearingPair(t, func(t *testing.T, one, two *fixture) {
		conversation := one.conversation(t)
		tell, _, began := held()
		one.runner.set(tell)
		first := one.say(t, conversation, "um")
		<-began
		one.stop()
		two.runner.set(said("agora"))
		again, err := two.Find(t.Context(), "acme", conversation, first.ID)
		require.NoError(t, err)
		events, ended := following(t, again)
		two.Heard(chat.TopicOrphans, "") // of another one's death
		_, err = two.db.Exec1(t.Context(), "UPDATE worker_lease SET expire_time = 0 WHERE instance = '' AND name LIKE 'chat/%'")
		require.NoError(t, err)
		two.Heard(chat.TopicOrphans, "")
		await(t, ended)
		require.Equal(t, "agora", text(*events))
	})
}

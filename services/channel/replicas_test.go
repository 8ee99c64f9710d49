package channel_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/testkit"
)

// deaf is a configuration in which nothing is found by the poll.
func deaf() channel.Config { return channel.Config{Poll: time.Hour} }

// replicas are two processes on one PostgreSQL that know of each other.
func replicas(t *testing.T, one, two channel.Config, options ...rigOption) (a, b *rig) {
	t.Helper()
	shared := testkit.Options(t, sqldb.Postgres, channel.Migrations(), "channel")
	a = newRig(t, testkit.Open(t, shared), withConfig(one)).start()
	// It is listed before the other one begins, whose clock may stand still: that looks once.
	a.eventually(func() bool { return a.gauge("prosa_replica_connected") == 1 }, "it is listed")
	b = newRig(t, testkit.Open(t, shared), append(options, withConfig(two))...).start()
	for _, r := range []*rig{a, b} {
		r.eventually(func() bool { return r.gauge("prosa_replica_others") == 1 }, "the other one is seen")
	}
	return a, b
}

func (r *rig) gauge(name string) float64 {
	families, err := r.metrics.Gather()
	require.NoError(r.t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

// holding makes an agent keep each turn until the channel is closed.
func (r *rig) holding() (release chan struct{}) {
	release = make(chan struct{})
	r.agent.set(func(request *agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
		<-release
		return []*messagev1.Message{text("echo: " + request.GetText())}, nil
	})
	return release
}

// TestReplicaTakesWhatAnotherHasNoRoomFor: one has a single slot, and it is taken.
func TestReplicaTakesWhatAnotherHasNoRoomFor(t *testing.T) {
	small := deaf()
	small.TurnPool = 1
	a, b := replicas(t, small, deaf())
	c := a.create()
	release := a.holding()
	a.send(c, "ana", "oi")
	a.eventually(func() bool { return a.agent.count("oi") == 1 }, "the slot is taken")
	a.send(c, "bia", "olá")
	require.Contains(t, a.receiver.await(t, 1)[0].body, "echo: olá")
	require.Zero(t, a.agent.count("olá"))
	require.Equal(t, 1, b.agent.count("olá"))
	close(release)
	a.receiver.await(t, 2)
}

// TestReplicaWithAFullEndpointIsHelped: the same for deliveries.
func TestReplicaWithAFullEndpointIsHelped(t *testing.T) {
	narrow := deaf()
	narrow.DeliveriesPerEndpoint = 1
	a, _ := replicas(t, narrow, deaf())
	c := a.create()
	release := make(chan struct{})
	a.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
		if n == 1 {
			<-release
		}
		acknowledge(w)
	})
	a.send(c, "ana", "oi")
	a.receiver.await(t, 1)
	a.send(c, "bia", "olá")
	require.Contains(t, a.receiver.await(t, 2)[1].body, "echo: olá", "while the one place is taken")
	close(release)
	a.drained()
}

// TestWhatIsAcceptedElsewhereIsSeenByTheHolder: whoever holds a person's thread
// goes on with what another process accepts meanwhile.
func TestWhatIsAcceptedElsewhereIsSeenByTheHolder(t *testing.T) {
	a, b := replicas(t, deaf(), deaf())
	c := a.create()
	release := b.holding()
	b.send(c, "ana", "0")
	b.eventually(func() bool { return b.agent.count("0") == 1 }, "it is held")
	for i := 1; i <= 3; i++ {
		a.send(c, "ana", fmt.Sprint(i))
	}
	close(release)
	for i, got := range a.receiver.await(t, 4) {
		require.Contains(t, got.body, fmt.Sprintf("echo: %d", i))
	}
	require.Empty(t, a.agent.texts("ana"))
}

// TestCallerHearsOfAnAnswerMadeElsewhere: the caller of version V1 waits at one
// process while another one holds the thread.
func TestCallerHearsOfAnAnswerMadeElsewhere(t *testing.T) {
	small := deaf()
	small.TurnPool = 1
	a, b := replicas(t, small, deaf())
	integration := a.createBot(func(b *channelv1.BotApi) { b.Version = channelv1.BotApi_V1 })
	release := a.holding()
	a.send(a.create(), "ana", "oi")
	a.eventually(func() bool { return a.agent.count("oi") == 1 }, "the slot is taken")
	// The stored answer is read from the agent, which both processes share in truth.
	answer := make(chan *channelv1.ReceiveBotMessageResponse)
	go func() {
		got, err := a.tell(integration, toBot(integration, "bia", "olá"))
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	b.eventually(func() bool { return b.agent.count("olá") == 1 }, "another process runs the turn")
	close(release)
	require.Equal(t, "echo: olá", (<-answer).GetAnswer().GetOutput()[0].GetText())
}

// TestChangeIsSeenElsewhere: what a process remembers of a channel is read anew.
// Its clock stands, so that nothing grows old.
func TestChangeIsSeenElsewhere(t *testing.T) {
	a, b := replicas(t, deaf(), deaf(), withClock(clock.NewManual(time.Now())))
	c := a.create()
	b.send(c, "ana", "oi")
	a.receiver.await(t, 1)
	c.WebhookUrl = b.receiver.URL + "/hook"
	_, err := a.channels.UpdateChannel(t.Context(), &channelv1.UpdateChannelRequest{
		Instance: "acme", Id: c.GetId(), Channel: c, UpdateMask: mask("webhook_url"),
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		b.send(c, "ana", "still there?")
		return b.receiver.count() > 0
	}, patience, 10*time.Millisecond)
	b.drained()
}

// TestWorkOfADeadReplicaGoesOn: long before its leases end by themselves, and
// whatever it still wants to write is refused.
func TestWorkOfADeadReplicaGoesOn(t *testing.T) {
	leases := deaf()
	leases.TurnLease, leases.DeliveryLease = time.Hour, time.Hour
	a, b := replicas(t, leases, leases)
	c := a.create()
	asked, answered := b.holding(), make(chan struct{})
	a.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
		if n == 1 {
			<-answered
		}
		acknowledge(w)
	})
	// One turn and one delivery are under way at its end.
	close(asked)
	b.send(c, "ana", "delivered")
	a.receiver.await(t, 1)
	asked = b.holding()
	b.send(c, "bia", "turned")
	b.eventually(func() bool { return b.agent.count("turned") == 1 }, "it has begun")

	killed := time.Now()
	require.NoError(t, b.db.Close()) // its connections end, as by kill -9
	got := a.receiver.await(t, 3)
	t.Logf("both went on after %v", time.Since(killed))
	said := map[string]int{}
	for _, hook := range got {
		for _, words := range []string{"echo: delivered", "echo: turned"} {
			said[words] += strings.Count(hook.body, words)
		}
	}
	require.Equal(t, map[string]int{"echo: delivered": 2, "echo: turned": 1}, said)
	require.Equal(t, 1, a.agent.count("turned"))
	close(asked)
	close(answered)
	a.drained()
	a.eventually(func() bool { return a.gauge("prosa_replica_others") == 0 }, "it is not listed any more")
}

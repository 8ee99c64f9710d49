package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// The load of a kill run.
const (
	killPersons  = 50
	killMessages = 100 // a person: 5,000 in all
	killWithin   = 4 * time.Minute
)

// queryPause keeps repeated queries below their limit of 10 a second.
const queryPause = 150 * time.Millisecond

// kills is how many processes die in a run.
const kills = 5

// TestKilledUnderLoad kills random processes with -9 while 5,000 messages are
// sent, and compares what was acknowledged, what is stored and what arrived:
//
//   - I1, I2: every acknowledged message is answered by exactly one delivery,
//     and the person's attendance counts each once;
//   - I4: what arrives twice has the same webhook-id and body, and was under
//     way when a process died;
//   - I5: first arrivals of a person are in the order of acceptance, without a
//     gap;
//   - I12: a call without an answer, repeated with its key, is one message.
//
// PROSA_TEST_SEED repeats a run.
func TestKilledUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	eachDeployment(t, func(t *testing.T, cluster *harness.Cluster) {
		ctx, cancel := context.WithTimeout(t.Context(), killWithin)
		defer cancel()
		random := harness.Random(t)
		receiver, err := harness.NewReceiver(nil)
		require.NoError(t, err)
		defer receiver.Close()
		client := harness.NewClient(cluster.HTTP)
		defer client.Close()
		setup, err := client.Create(ctx, "kill-"+strconv.FormatUint(random.Uint64()%1e6, 10), harness.Echo, receiver.URL, false)
		require.NoError(t, err)

		ledger := harness.NewLedger()
		var senders sync.WaitGroup
		for person := range killPersons {
			senders.Go(func() { sendAll(ctx, client, setup.ChannelID, person, ledger) })
		}
		for kill := range kills {
			// One kill falls into each fifth of the load, somewhere.
			at := float64(killPersons*killMessages) * (float64(kill) + random.Float64()) / kills
			require.NoError(t, ledger.Wait(ctx, int(at)), "the load stands still")
			require.NoError(t, cluster.KillAndRestart(random.IntN(cluster.Size())))
			require.NoError(t, cluster.WaitReady(ctx))
		}
		senders.Wait()
		t.Logf("%d messages acknowledged, %d answers arrived", killPersons*killMessages, len(receiver.First()))
		require.NoError(t, ctx.Err(), "the load did not end in time")

		accepted := ledger.Accepted()
		total := 0
		for _, texts := range accepted {
			require.Len(t, texts, killMessages)
			total += len(texts)
		}
		require.NoError(t, receiver.WaitCount(ctx, total), "acknowledged messages without an answer")
		checkArrivals(t, receiver, accepted)
		for person := range accepted {
			checkHistory(ctx, t, client, setup, person)
			break // one stands for all: the deliveries were compared above
		}
		t.Logf("%d messages, %d kills, %d arrived more than once", total, kills, len(receiver.All())-total)
	})
}

// sendAll sends a person's messages one after the other, each until it is
// acknowledged; the key makes repetitions harmless.
func sendAll(ctx context.Context, client *harness.Client, channelID string, person int, ledger *harness.Ledger) {
	for i := range killMessages {
		if ledger.Say(ctx, []*harness.Client{client}, channelID, fmt.Sprintf("person-%d", person), i) != nil {
			return // the ledger lacks it
		}
	}
}

// checkArrivals compares the deliveries with what was acknowledged.
func checkArrivals(t *testing.T, receiver *harness.Receiver, accepted map[string][]string) {
	t.Helper()
	bodies := map[string]string{}
	repeated := 0
	for _, delivery := range receiver.All() {
		if body, ok := bodies[delivery.ID]; ok {
			require.Equal(t, body, string(delivery.Body), "a repetition has the first body")
			repeated++
		}
		bodies[delivery.ID] = string(delivery.Body)
	}
	// A killed process had at most one delivery a conversation under way.
	require.LessOrEqual(t, repeated, kills*len(accepted))
	require.NoError(t, harness.CheckOrder(receiver.First(), accepted))
}

// checkHistory compares what contacts remembers of a person.
func checkHistory(ctx context.Context, t *testing.T, client *harness.Client, setup harness.Setup, person string) {
	t.Helper()
	query := map[string]any{"filters": map[string]any{"identifier": person}, "flags": map[string]any{"history": true}}
	for {
		var answer struct {
			ResultCount string
			Contacts    []struct {
				Interactions int
				History      []struct {
					Sender  string
					Message []struct{ Text string }
				}
			}
		}
		err := client.Call(ctx, http.MethodPost, "/contacts/"+setup.Instance, query, &answer)
		require.NoError(t, err)
		require.Equal(t, "1", answer.ResultCount, "one attendance")
		if answer.Contacts[0].Interactions < killMessages {
			require.NoError(t, ctx.Err(), "the history is not complete")
			time.Sleep(queryPause)
			continue
		}
		require.Equal(t, killMessages, answer.Contacts[0].Interactions)
		require.Len(t, answer.Contacts[0].History, 2*killMessages)
		for i, item := range answer.Contacts[0].History {
			want := fmt.Sprintf("%s message %d", person, i/2)
			if i%2 == 1 {
				want = "eco: " + want
			}
			require.Equal(t, want, item.Message[0].Text)
		}
		return
	}
}

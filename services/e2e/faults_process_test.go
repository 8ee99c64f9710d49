package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/e2e/internal/harness"
)

// stopWithin is how long a stop may take.
const stopWithin = 25 * time.Second

// TestStopUnderLoad stops a process while messages come in: it exits 0, and
// after a restart every acknowledged message is answered once and in order.
// What was in flight was finished, so that nothing arrives twice.
func TestStopUnderLoad(t *testing.T) {
	const persons = 10
	eachStore(t, func(t *testing.T, settings map[string]string) {
		ctx := harness.Within(t, killWithin)
		prosa := start(t, harness.Spec{Settings: settings})
		client, receiver := clientOf(t, prosa), receive(t, nil)
		setup := setUp(ctx, t, client, receiver.URL)
		ledger := harness.NewLedger()
		var senders sync.WaitGroup
		for person := range persons {
			senders.Go(func() { sendAll(ctx, client, setup.ChannelID, person, ledger) })
		}
		require.NoError(t, ledger.Wait(ctx, persons*killMessages/4))
		began := time.Now()
		require.NoError(t, prosa.Stop(), "exit code 0")
		require.Less(t, time.Since(began), stopWithin)
		again(t, prosa)
		senders.Wait()
		require.NoError(t, receiver.WaitCount(ctx, persons*killMessages))
		require.Len(t, ledger.Accepted(), persons)
		checkArrivals(t, receiver, ledger.Accepted())
		require.Len(t, receiver.All(), persons*killMessages, "nothing arrives twice")
	})
}

// TestStopBesideAReceiverThatHangs stops a process whose attempts get no
// answer: it gives up on them in time, exits 0, and they are made again.
func TestStopBesideAReceiverThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the grace of a stop")
	}
	t.Parallel()
	eachStore(t, func(t *testing.T, settings map[string]string) {
		t.Parallel()
		ctx := harness.Within(t, 2*time.Minute)
		hang := make(chan struct{})
		receiver := receive(t, func(harness.Delivery) (int, string) {
			<-hang
			return http.StatusOK, `{"status":"ok"}`
		})
		let := sync.OnceFunc(func() { close(hang) })
		t.Cleanup(let)
		prosa := start(t, harness.Spec{Settings: settings})
		client := clientOf(t, prosa)
		setup := setUp(ctx, t, client, receiver.URL)
		say(ctx, t, client, setup.ChannelID, "person", "hello")
		require.NoError(t, receiver.WaitCount(ctx, 1))
		began := time.Now()
		require.NoError(t, prosa.Stop(), "exit code 0")
		require.Less(t, time.Since(began), stopWithin)
		let()
		again(t, prosa)
		require.Eventually(t, func() bool { return len(receiver.All()) == 2 }, stepWithin, 20*time.Millisecond)
		all := receiver.All()
		require.Equal(t, all[0].ID, all[1].ID)
		require.Equal(t, string(all[0].Body), string(all[1].Body))
	})
}

// TestSecondProcess starts a second process on the data folder of a running
// one: it refuses, says why, and the first goes on.
func TestSecondProcess(t *testing.T) {
	folder := t.TempDir()
	ctx := harness.Within(t, time.Minute)
	first := start(t, harness.Spec{Settings: map[string]string{"data-dir": folder}})
	client, receiver := clientOf(t, first), receive(t, nil)
	setup := setUp(ctx, t, client, receiver.URL)

	second, err := harness.Launch(harness.Spec{Binary: binary, Settings: map[string]string{"data-dir": folder}})
	require.NoError(t, err)
	require.ErrorContains(t, second.WaitReady(ctx), "exit status 1")
	require.Regexp(t, `prosa: .*`+folder+`.* in use by another process`, second.Output())

	for i := range 3 {
		say(ctx, t, client, setup.ChannelID, "person", fmt.Sprintf("message %d", i))
	}
	require.NoError(t, receiver.WaitCount(ctx, 3))
}

package admission_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/prosa-chat/prosa/services/internal/admission"
	"github.com/prosa-chat/prosa/services/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// enterAll has so many calls at the gate at once, and gives the channel on which each says whether it was let in.
func enterAll(ctx context.Context, g *admission.Gate, calls int) <-chan bool {
	let := make(chan bool, calls)
	for range calls {
		go func() { let <- g.Enter(ctx) }()
	}
	synctest.Wait()
	return let
}

func count(let <-chan bool, calls int) (in, out int) {
	for range calls {
		if <-let {
			in++
		} else {
			out++
		}
	}
	return in, out
}

// TestAGateIsFull: with three places, three are in, forty-eight wait, and whoever comes beyond that is turned away without a wait. Those
// that wait get the places that become free, and are turned away when their time is up.
func TestAGateIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := admission.New(3, clock.System())
		in, out := count(enterAll(t.Context(), g, 3), 3)
		require.Equal(t, [2]int{3, 0}, [2]int{in, out})
		require.Equal(t, 3, g.InFlight())

		waiting := enterAll(t.Context(), g, 48)
		require.Equal(t, 48, g.Waiting())
		require.Empty(t, waiting, "nobody has an answer yet")
		began := time.Now()
		in, out = count(enterAll(t.Context(), g, 50), 50)
		require.Equal(t, [2]int{0, 50}, [2]int{in, out})
		require.Zero(t, time.Since(began), "at once")

		g.Leave()
		synctest.Wait()
		require.True(t, <-waiting)
		require.Equal(t, 3, g.InFlight())
		require.Equal(t, 47, g.Waiting())
		in, out = count(waiting, 47)
		require.Equal(t, [2]int{0, 47}, [2]int{in, out})
		require.Equal(t, admission.DefaultWait, time.Since(began))
		require.Zero(t, g.Waiting())

		for range 3 {
			g.Leave()
		}
		require.Zero(t, g.InFlight())
		require.True(t, g.Enter(t.Context()))
		g.Leave()
	})
}

func TestWhoLeavesDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := admission.New(1, clock.System())
		require.True(t, g.Enter(t.Context()))
		ctx, leave := context.WithCancel(t.Context())
		waiting := enterAll(ctx, g, 1)
		began := time.Now()
		leave()
		require.False(t, <-waiting)
		require.Zero(t, time.Since(began))
		require.Zero(t, g.Waiting())
		g.Leave()
	})
}

func TestThereIsAPlace(t *testing.T) {
	require.Equal(t, 1, admission.New(0, clock.System()).Places())
}

func BenchmarkEnter(b *testing.B) {
	g := admission.New(256, clock.System())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if g.Enter(b.Context()) {
				g.Leave()
			}
		}
	})
}

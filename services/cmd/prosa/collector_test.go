package main

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheHeapGrowsToAFloorOrToThreeTimesWhatIsInUse(t *testing.T) {
	for live, percent := range map[uint64]int{
		0:              3_100,
		smallest:       3_100,
		12 << 20:       950,
		32 << 20:       300,
		heapFloor / 3:  200,
		heapFloor:      200,
		10 * heapFloor: 200,
	} {
		require.Equal(t, percent, growth(live), "%d MiB", live>>20)
		require.LessOrEqual(t, max(live, smallest)*uint64(100+percent)/100, max(heapFloor, 3*live))
	}
}

func TestSomethingIsDoneAfterEachCollection(t *testing.T) {
	done := make(chan struct{}, 1)
	afterEachCollection(func() {
		select {
		case done <- struct{}{}:
		default: // the test is over
		}
	})
	for range 3 {
		runtime.GC()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			require.Fail(t, "nothing was done")
		}
	}
}

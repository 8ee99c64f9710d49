package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// heapFloor is how large the heap may always become before it is collected. What is in use is small, some ten megabytes, so
	// that under load it would be collected several times a second; an idle process never gets that far.
	heapFloor = 128 << 20
	// smallest is what the collector takes for in use when it is less.
	smallest = 4 << 20
	// gcPercent is by how much of what is in use the heap may grow otherwise.
	gcPercent = 200
)

// spaceCollections sets when the heap is collected, now and after each collection. Who sets GOGC decides instead; GOMEMLIMIT bounds
// it in any case.
func spaceCollections() {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := 0
	adjust := func() {
		metrics.Read(sample)
		if percent := growth(sample[0].Value.Uint64()); percent != set {
			debug.SetGCPercent(percent)
			set = percent
		}
	}
	adjust()
	afterEachCollection(adjust)
}

// growth is by how many percent the heap may grow when so many bytes of it are in use: in steps of fifty, as a change stops the
// program for a moment.
func growth(live uint64) int {
	percent := 100 * (float64(heapFloor)/float64(max(live, smallest)) - 1)
	return max(gcPercent, int(percent)/50*50)
}

// afterEachCollection runs a function on the goroutine of finalizers: it is short.
func afterEachCollection(do func()) {
	type sentinel struct{ _ *int } // not of those tiny objects that share their memory with others
	var next func(*sentinel)
	next = func(s *sentinel) {
		do()
		runtime.SetFinalizer(s, next)
	}
	runtime.SetFinalizer(&sentinel{}, next)
}

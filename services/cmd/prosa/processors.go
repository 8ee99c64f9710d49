package main

import (
	"os"
	"runtime"
)

// spareThreads is how many threads more than there are processors run the program when its stores are embedded. The stores' writers
// are at the disk much of the time, and whoever comes back from there finds all places taken: with a place more for each of the two
// busiest, they wait for a processor, which they get soon, and not behind everybody else that the program has to do.
const spareThreads = 2

// useProcessors sets how many threads run the program. Who sets GOMAXPROCS decides instead.
func useProcessors(embeddedStores bool) {
	if embeddedStores && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareThreads)
	}
}

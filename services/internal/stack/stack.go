// Package stack sizes the stacks of new goroutines.
package stack

// size is what an interceptor chain, validation and the deepest of the frequent handlers have on the stack, roughly. The runtime
// rounds up to a power of two, and keeps freed stacks of up to 16 KiB at hand for each processor.
const size = 12 << 10

// Grow makes the stack of the calling goroutine large enough for a call. It is for the first line of a goroutine that does one
// piece of work and ends: there is nearly nothing on the stack yet. Otherwise it doubles on the way down and is copied each time,
// with every frame to be adjusted, which can cost more than the work itself.
func Grow() { reserve(false) }

// reserve never uses its array: what counts is the size of the frame.
//
//go:noinline
func reserve(never bool) byte {
	if !never {
		return 0
	}
	var room [size]byte
	for i := range room {
		room[i] = byte(i)
	}
	return room[len(room)/2]
}

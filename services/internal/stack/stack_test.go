package stack_test

import (
	"sync"
	"testing"

	"github.com/prosa-chat/prosa/services/internal/stack"
)

// descend uses about n KiB of stack in frames of one.
func descend(n int) byte {
	var frame [1024]byte
	frame[n%len(frame)] = byte(n)
	if n == 0 {
		return frame[0]
	}
	return descend(n-1) + frame[n%len(frame)]
}

// BenchmarkGoroutine is a goroutine that goes ten frames of a kilobyte deep.
func BenchmarkGoroutine(b *testing.B) {
	for name, begin := range map[string]func(){"grown": stack.Grow, "as it comes": func() {}} {
		b.Run(name, func(b *testing.B) {
			var group sync.WaitGroup
			for b.Loop() {
				group.Go(func() {
					begin()
					descend(10)
				})
				group.Wait()
			}
		})
	}
}

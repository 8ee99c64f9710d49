package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Closers is a stack of what must be closed: last opened, first closed. The zero value is empty and ready.
type Closers struct {
	mu     sync.Mutex
	stack  []closer
	closed bool
	once   sync.Once
	err    error
}

type closer struct {
	name  string
	close func(context.Context) error
}

// Push puts something on the stack. The name is for the error that says what could not be closed. What is pushed after Close is
// never closed by it, so the caller gets false and must close it.
func (c *Closers) Push(name string, closeIt func(ctx context.Context) error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.stack = append(c.stack, closer{name: name, close: closeIt})
	return true
}

// Close closes everything, last pushed first, one after the other, under the one deadline of ctx: when it has passed the rest are
// still called, with the ended context, and must give up at once. One that fails or panics does not keep the others open. Close
// may be called more than once: later calls wait for the first and return what it did.
func (c *Closers) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	stack := c.stack
	c.mu.Unlock()

	c.once.Do(func() {
		var failures []error
		for _, item := range slices.Backward(stack) {
			if err := closeGuarded(ctx, item); err != nil {
				failures = append(failures, fmt.Errorf("close %s: %w", item.name, err))
			}
		}
		c.err = errors.Join(failures...)
	})
	return c.err
}

func closeGuarded(ctx context.Context, item closer) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value: value}
		}
	}()
	return item.close(ctx)
}

func sortedKeys(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }

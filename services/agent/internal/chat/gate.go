package chat

import (
	"context"
	"sync"
)

// gates let one at a time into each conversation.
type gates struct {
	mu   *sync.Mutex
	open map[conversation]*gate
}

type gate struct {
	inside chan struct{} // holds one
	users  int           // inside or waiting
}

func newGates() gates { return gates{mu: &sync.Mutex{}, open: make(map[conversation]*gate)} }

// enter waits until nobody else is inside; leave must be called then. Errors: the end of ctx.
func (g gates) enter(ctx context.Context, c conversation) (leave func(), err error) {
	g.mu.Lock()
	one := g.open[c]
	if one == nil {
		one = &gate{inside: make(chan struct{}, 1)}
		g.open[c] = one
	}
	one.users++
	g.mu.Unlock()
	forget := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(g.open, c)
		}
	}
	select {
	case one.inside <- struct{}{}:
		return func() { <-one.inside; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}

package harness

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// Relay carries TCP connections to another address until it is cut, as a
// network does.
type Relay struct {
	// Addr is where it listens while it is not cut.
	Addr string

	target   string
	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
	running  sync.WaitGroup
}

// NewRelay makes a relay to target on a free port of loopback. It is cut at
// first: nothing listens.
func NewRelay(target string) (*Relay, error) {
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	return &Relay{Addr: addr, target: target, open: map[net.Conn]bool{}}, nil
}

// Join lets connections through.
func (r *Relay) Join() error {
	listener, err := net.Listen("tcp", r.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	r.mu.Lock()
	r.listener = listener
	r.mu.Unlock()
	r.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // cut
			}
			r.running.Go(func() { r.carry(listener, conn) })
		}
	})
	return nil
}

// Cut ends all connections and lets none through.
func (r *Relay) Cut() {
	r.mu.Lock()
	if r.listener != nil {
		_ = r.listener.Close() // it is of no use any more, whatever this says
		r.listener = nil
	}
	for conn := range r.open {
		_ = conn.Close() // as above
	}
	r.mu.Unlock()
	r.running.Wait()
}

func (r *Relay) carry(listener net.Listener, from net.Conn) {
	defer func() { _ = from.Close() }() // cut already when this fails
	to, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }() // as above
	if !r.keep(listener, from, to) {
		return
	}
	defer r.drop(from, to)
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(from, to) // ends with either connection
		_ = from.Close()         // ends the other direction
	}()
	_, _ = io.Copy(to, from) // as above
	_ = to.Close()
	<-back
}

// keep notes connections to be cut; false when the relay is cut already.
func (r *Relay) keep(listener net.Listener, conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != listener {
		return false
	}
	for _, conn := range conns {
		r.open[conn] = true
	}
	return true
}

func (r *Relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		delete(r.open, conn)
	}
}

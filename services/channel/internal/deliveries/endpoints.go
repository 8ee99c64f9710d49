package deliveries

import (
	"sync"

	"github.com/prosa-chat/prosa/services/channel/internal/store"
)

// tripAfter is how many failures in a row make an endpoint be tried with one
// attempt at a time, until one succeeds.
const tripAfter = 10

// endpoints counts what is in flight to each endpoint, and says how much more
// may be. What it knows is forgotten when the process ends; it only saves
// attempts, it decides about no delivery.
type endpoints struct {
	limit int

	mu    sync.Mutex
	known map[string]*endpoint
	looks uint64
}

type endpoint struct {
	inFlight int
	// allowed is how many may be in flight: the limit, less after the receiver
	// asked to slow down, one while it does not answer.
	allowed int
	// failures in a row.
	failures int
	// hungry says that lanes are due that found no room, queuedAt during which
	// look at the store the last of them came.
	hungry   bool
	queuedAt uint64
}

func newEndpoints(limit int) *endpoints {
	return &endpoints{limit: limit, known: make(map[string]*endpoint)}
}

// of returns the endpoint; the caller holds the lock.
func (e *endpoints) of(id string) *endpoint {
	known, ok := e.known[id]
	if !ok {
		known = &endpoint{allowed: e.limit}
		e.known[id] = known
	}
	return known
}

// room is how many more lanes of the endpoint may be in flight.
func (e *endpoints) room(id string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.known[id]
	if !ok {
		return e.limit
	}
	return max(0, known.allowed-known.inFlight)
}

// enter takes room for at most n lanes and returns how many.
func (e *endpoints) enter(id string, n int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	n = max(0, min(n, known.allowed-known.inFlight))
	known.inFlight += n
	return n
}

// enterOne takes room for one lane, unless others wait for it.
func (e *endpoints) enterOne(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	if known.hungry || known.inFlight >= known.allowed {
		return false
	}
	known.inFlight++
	return true
}

// leave gives room for n lanes back. It reports whether lanes wait that should
// be claimed now: a few at a time, so that a claim is worth its cost.
func (e *endpoints) leave(id string, n int) (claim bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	known.inFlight -= n
	if known.hungry {
		return known.allowed-known.inFlight >= max(1, known.allowed/4)
	}
	e.forget(id, known)
	return false
}

// forget drops an endpoint of which there is nothing to know; the caller holds the lock.
func (e *endpoints) forget(id string, known *endpoint) {
	if known.inFlight == 0 && !known.hungry && known.failures == 0 && known.allowed == e.limit {
		delete(e.known, id)
	}
}

// look begins a look at the store: what is queued from now on, it may miss.
func (e *endpoints) look() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.looks++
}

// hungryAre ends a look: the given endpoints have lanes that wait, and so do
// those for which one was queued since the look began; all others have none.
// It reports whether there is room for any of them.
func (e *endpoints) hungryAre(waiting []store.Endpoint) (room bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, known := range e.known {
		known.hungry = known.hungry && known.queuedAt == e.looks
	}
	for _, endpoint := range waiting {
		e.of(endpoint.ID).hungry = true
	}
	for id, known := range e.known {
		e.forget(id, known)
	}
	for _, known := range e.known {
		room = room || (known.hungry && known.inFlight < known.allowed)
	}
	return room
}

// queued notes that a lane waits, and reports whether there is room for it.
func (e *endpoints) queued(id string) (room bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	known.hungry, known.queuedAt = true, e.looks
	return known.inFlight < known.allowed
}

// learn takes note of what came of an attempt.
func (e *endpoints) learn(id string, acknowledged, slowDown bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	switch {
	case acknowledged && known.failures >= tripAfter:
		known.failures, known.allowed = 0, e.limit
	case acknowledged:
		known.failures, known.allowed = 0, min(known.allowed+1, e.limit)
	default:
		known.failures++
		if known.failures >= tripAfter {
			known.allowed = 1
		} else if slowDown {
			known.allowed = max(1, known.allowed/2)
		}
	}
}

// share divides free places among the endpoints that are ready: first everyone
// the same, then what is left to whoever has room for it. The endpoint to begin
// with changes from call to call, by turn.
func (e *endpoints) share(ready []store.Endpoint, free, turn int) []store.Claim {
	if len(ready) == 0 {
		return nil
	}
	claims := make([]store.Claim, 0, len(ready))
	room := make([]int, 0, len(ready))
	each := max(1, free/len(ready))
	for i := range ready {
		if free == 0 {
			break
		}
		endpoint := ready[(i+turn)%len(ready)]
		has := e.room(endpoint.ID)
		n := min(each, has, free)
		if n == 0 {
			continue
		}
		free -= n
		claims, room = append(claims, store.Claim{Endpoint: endpoint, Limit: n}), append(room, has-n)
	}
	for i := range claims {
		n := min(room[i], free)
		claims[i].Limit += n
		free -= n
	}
	return claims
}

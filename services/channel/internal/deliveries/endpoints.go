package deliveries

import (
	"context"
	"slices"
	"sync"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// endpoints counts the exchanges that go on with each endpoint, and says how
// many more may. What it knows is forgotten when the process ends, and other
// processes know nothing of it; it only saves attempts, it decides about no
// delivery. It is safe for concurrent use.
type endpoints struct {
	limit int
	clock clock.Clock

	mu    sync.Mutex
	known map[string]*endpoint
}

type endpoint struct {
	breaker
	inFlight int
	// expected are lanes that will ask for their first exchange soon.
	expected int
	// waiters are lanes that are held and wait for their next exchange, first
	// come first. They come before lanes in the store.
	waiters []chan bool
}

func newEndpoints(limit int, c clock.Clock) *endpoints {
	return &endpoints{limit: limit, clock: c, known: make(map[string]*endpoint)}
}

// of returns the endpoint; the caller holds the lock.
func (e *endpoints) of(id string) *endpoint {
	known, ok := e.known[id]
	if !ok {
		known = &endpoint{breaker: newBreaker(e.limit)}
		e.known[id] = known
	}
	return known
}

// room is how many more exchanges may begin that nobody else is to have.
func (e *endpoints) room(id string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.known[id]
	if !ok {
		return e.limit
	}
	return known.room(e)
}

func (k *endpoint) room(e *endpoints) int {
	return max(0, k.most(e.clock.Now())-k.inFlight-k.expected-len(k.waiters))
}

// enter takes places for at most n exchanges and returns how many. Each must be
// given back by leave.
func (e *endpoints) enter(id string, n int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	n = min(n, known.room(e))
	known.enter(n)
	e.forget(id, known)
	return n
}

func (k *endpoint) enter(n int) {
	k.inFlight += n
	k.probing = k.probing || (n > 0 && k.open())
}

// ahead is for how many times as many lanes as may have an exchange at once a
// place is promised besides. They wait for it in memory, which costs less than
// to write them down as due and to claim them again.
const ahead = 4

// expect promises a lane a place, unless too many have or wait for one, or the
// receiver is not well. If there is room for lanes that wait, the place may be
// one that is taken now. Whoever is expected comes by again, or is taken back by
// unexpect.
func (e *endpoints) expect(id string, room bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	most := known.most(e.clock.Now())
	if room {
		most *= 1 + ahead
	}
	if known.open() || known.inFlight+known.expected+len(known.waiters) >= most {
		e.forget(id, known)
		return false
	}
	known.expected++
	return true
}

// unexpect takes back what expect promised. It reports whether there is then
// room that is worth a claim.
func (e *endpoints) unexpect(id string) (worth bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	known.expected--
	e.forget(id, known)
	return known.worth(e)
}

// again takes the place for the next exchange of a lane that is held, and waits
// for it; expected says that it is the first. It reports false if there will be
// none soon, or ctx ended.
func (e *endpoints) again(ctx context.Context, id string, expected bool) bool {
	e.mu.Lock()
	known := e.of(id)
	if expected {
		known.expected--
	}
	most := known.most(e.clock.Now())
	if known.inFlight+len(known.waiters) < most {
		known.enter(1)
		e.mu.Unlock()
		return true
	}
	if known.open() || most == 0 {
		e.forget(id, known)
		e.mu.Unlock()
		return false
	}
	mine := make(chan bool, 1)
	known.waiters = append(known.waiters, mine)
	e.mu.Unlock()
	select {
	case ok := <-mine:
		return ok
	case <-ctx.Done():
	}
	e.mu.Lock()
	i := slices.Index(known.waiters, mine)
	if i >= 0 {
		known.waiters = slices.Delete(known.waiters, i, i+1)
	}
	e.mu.Unlock()
	if i < 0 && <-mine {
		e.leave(id, 1)
	}
	return false
}

// learn takes note of what came of an exchange. Its place is given back behind
// that, so that what is known is known to whoever gets it.
func (e *endpoints) learn(id string, outcome webhook.Outcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.of(id).learn(outcome, e.clock.Now())
}

// leave gives places back: to lanes that wait for their next exchange, or it
// sends these away if there will be none soon. It reports whether there is then
// room that is worth a claim.
func (e *endpoints) leave(id string, n int) (worth bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	known.inFlight -= n
	if known.inFlight == 0 {
		known.probing = false // one that was not made
	}
	most := known.most(e.clock.Now())
	soon := most > 0 && !known.open()
	for len(known.waiters) > 0 && (!soon || known.inFlight < most) {
		if soon {
			known.inFlight++
		}
		known.waiters[0] <- soon
		known.waiters = known.waiters[1:]
	}
	e.forget(id, known)
	return known.worth(e)
}

// worth reports whether there is room that is worth a claim.
func (k *endpoint) worth(e *endpoints) bool {
	room := k.room(e)
	return room > 0 && room >= k.most(e.clock.Now())/4
}

// forget drops an endpoint of which there is nothing to know; the caller holds
// the lock.
func (e *endpoints) forget(id string, known *endpoint) {
	if known.inFlight == 0 && known.expected == 0 && len(known.waiters) == 0 && known.pristine(e.clock.Now()) {
		delete(e.known, id)
	}
}

// reset forgets how an endpoint has behaved: it is another one now, or somebody
// says that it is well.
func (e *endpoints) reset(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.of(id)
	known.breaker = newBreaker(e.limit)
	e.forget(id, known)
}

// tripped is how many endpoints have an open breaker.
func (e *endpoints) tripped() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, known := range e.known {
		if known.open() {
			n++
		}
	}
	return n
}

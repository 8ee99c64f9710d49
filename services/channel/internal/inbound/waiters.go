package inbound

import (
	"sync"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// Waiters are the calls of this process that wait for the answer to a message.
// The zero value has none. It is safe for concurrent use.
type Waiters struct {
	mu   sync.Mutex
	byID map[string]*waiter
}

// waiter is a call that waits.
type waiter struct {
	answered chan *agentv1.RunTurnResponse
	// look says that the answer may be stored.
	look chan struct{}
}

// Answered gives the answer to who waits for the message, if somebody does.
func (w *Waiters) Answered(messageID string, answer *agentv1.RunTurnResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting, ok := w.byID[messageID]; ok {
		waiting.answered <- answer // it has room for the one answer that there is
		delete(w.byID, messageID)
	}
}

// Look has who waits for the message look whether the answer is stored: another
// process may have made it. "" is any message.
func (w *Waiters) Look(messageID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if messageID == "" {
		for _, waiting := range w.byID {
			waiting.wake()
		}
	} else if waiting, ok := w.byID[messageID]; ok {
		waiting.wake()
	}
}

func (w *waiter) wake() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

// wait makes the caller get the answer to a message that is given from now on,
// until it stops waiting. One call waits for a message at a time; of several the
// last gets it.
func (w *Waiters) wait(messageID string) (waiting *waiter, stop func()) {
	waiting = &waiter{answered: make(chan *agentv1.RunTurnResponse, 1), look: make(chan struct{}, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[string]*waiter)
	}
	w.byID[messageID] = waiting
	return waiting, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.byID[messageID] == waiting {
			delete(w.byID, messageID)
		}
	}
}

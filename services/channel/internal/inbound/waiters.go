package inbound

import (
	"sync"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
)

// Waiters are the calls of this process that wait for the answer to a message.
// The zero value has none. It is safe for concurrent use.
type Waiters struct {
	mu   sync.Mutex
	byID map[string]chan *agentv1.RunTurnResponse
}

// Answered gives the answer to who waits for the message, if somebody does.
func (w *Waiters) Answered(messageID string, answer *agentv1.RunTurnResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting, ok := w.byID[messageID]; ok {
		waiting <- answer // it has room for the one answer that there is
		delete(w.byID, messageID)
	}
}

// wait makes the caller get the answer to a message that is given from now on,
// until it stops waiting. One call waits for a message at a time; of several the
// last gets it.
func (w *Waiters) wait(messageID string) (answer <-chan *agentv1.RunTurnResponse, stop func()) {
	waiting := make(chan *agentv1.RunTurnResponse, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[string]chan *agentv1.RunTurnResponse)
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

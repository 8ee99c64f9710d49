package chat

import (
	"context"
	"sync"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// What processes that share the store tell each other. All of it is found by a poll too.
const (
	// TopicEnded is that a turn has ended; the subject is its conversation.
	TopicEnded = "chat-ended"
	// TopicStop is that a turn is to be stopped that another process runs.
	TopicStop = "chat-stop"
	// TopicOrphans is only that a process has died.
	TopicOrphans = "chat-orphans"
)

func (s *Service) tell(topic, subject string) {
	if s.Shared && s.Tell != nil {
		s.Tell(topic, subject)
	}
}

// Heard takes what another process told. It does not block.
func (s *Service) Heard(topic, subject string) {
	switch topic {
	case TopicEnded:
		s.ends.ended(subject)
		return
	case TopicOrphans:
		s.orphans.Store(true)
	}
	select {
	case s.attend <- struct{}{}:
	default:
	}
}

// untilEnded looks until it is done: at once, whenever another process tells that a turn of the conversation has ended, and now and then.
func (s *Service) untilEnded(ctx context.Context, conversationID string, look func() (done bool, err error)) error {
	for {
		ended, leave := s.ends.await(conversationID) // before the look, so that none is missed
		done, err := look()
		if !done && err == nil && !clock.Wait(ctx, s.Clock, poll, ended) {
			err = ctx.Err()
		}
		leave()
		if done || err != nil {
			return err
		}
	}
}

// ends tells those who wait of the ends of turns elsewhere. The zero value has nobody.
type ends struct {
	mu   sync.Mutex
	next map[string]*end // by conversation
}

// end is the next end of a turn of a conversation.
type end struct {
	happened chan struct{}
	waiters  int
}

// await gives what is closed at the next end. The caller calls leave in any case.
func (e *ends) await(conversationID string) (happened <-chan struct{}, leave func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.next[conversationID]
	if next == nil {
		next = &end{happened: make(chan struct{})}
		if e.next == nil {
			e.next = make(map[string]*end)
		}
		e.next[conversationID] = next
	}
	next.waiters++
	return next.happened, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if next.waiters--; next.waiters == 0 && e.next[conversationID] == next {
			delete(e.next, conversationID)
		}
	}
}

// ended says that a turn of a conversation has ended, "" of any.
func (e *ends) ended(conversationID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if next := e.next[conversationID]; next != nil {
		close(next.happened)
		delete(e.next, conversationID)
	}
	if conversationID != "" {
		return
	}
	for _, next := range e.next {
		close(next.happened)
	}
	clear(e.next)
}

package turn

import (
	"container/list"
	"sync"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
)

const (
	// maxLanes and maxLaneBytes bound what is remembered of conversations.
	maxLanes     = 20_000
	maxLaneBytes = 32 << 20
	// laneOverhead is what an entry takes beside its texts, about.
	laneOverhead = 512
)

// lanes remembers where conversations stand that this process moved on last, so that their next turn need not ask the store. It is a
// hint: another process may have moved a conversation on, or ended it. The commit of a turn that was computed on an old state is
// refused, so an entry may be as old as it likes. It is safe for concurrent use.
type lanes struct {
	maxEntries, maxBytes int

	mu     sync.Mutex
	order  *list.List // of *standing, last put first
	byLane map[store.Lane]*list.Element
	bytes  int
}

// standing is where a running conversation stands.
type standing struct {
	lane         store.Lane
	conversation store.Conversation
}

func newLanes(maxEntries, maxBytes int) *lanes {
	return &lanes{
		maxEntries: maxEntries, maxBytes: maxBytes, order: list.New(), byLane: make(map[store.Lane]*list.Element),
	}
}

// take takes an entry out. Whoever took it puts a new one when the turn is committed, and nothing when it is not, or nobody knows
// whether it is: what is put was true once.
func (l *lanes) take(lane store.Lane) (standing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	element, ok := l.byLane[lane]
	if !ok {
		return standing{}, false
	}
	return *l.remove(element), true
}

// put remembers where a conversation stands after a turn that is committed. The answers of two commits may arrive in another order
// than their turns have: what is newer stays.
func (l *lanes) put(s standing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if element, ok := l.byLane[s.lane]; ok {
		present := &element.Value.(*standing).conversation
		if present.ID == s.conversation.ID && present.LastTurn >= s.conversation.LastTurn {
			return
		}
		l.remove(element)
	}
	l.byLane[s.lane] = l.order.PushFront(&s)
	l.bytes += s.size()
	for l.order.Len() > l.maxEntries || l.bytes > l.maxBytes {
		l.remove(l.order.Back())
	}
}

func (l *lanes) remove(element *list.Element) *standing {
	s := l.order.Remove(element).(*standing)
	delete(l.byLane, s.lane)
	l.bytes -= s.size()
	return s
}

func (s *standing) size() int {
	c := &s.conversation
	return laneOverhead + len(s.lane.Identifier) + len(c.LastTurnID) + len(c.ID) + len(c.ContactID) + cap(c.FlowState)
}

package record

import (
	"sync"

	contactsv1 "github.com/prosa-chat/prosa/gen/go/prosa/contacts/v1"
)

const (
	// maxMemory and maxMemoryBytes bound what is remembered between two rounds.
	maxMemory      = 4096
	maxMemoryBytes = 8 << 20
)

// memory remembers the records of turns that this process committed, until the recorder takes them or a whole round has not asked for
// them. It only spares reading them: which turns are pending, and in what order, is the store's to say. It is safe for concurrent use.
type memory struct {
	mu         sync.Mutex
	young, old map[turnKey]remembered // put since the last round began, and before it
	bytes      int                    // put since the last round began
}

type turnKey struct{ instance, id string }

type remembered struct {
	turn *contactsv1.TurnRecord
	size int // in bytes, about
}

func newMemory() *memory {
	return &memory{young: make(map[turnKey]remembered), old: make(map[turnKey]remembered)}
}

func (m *memory) put(k turnKey, r remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= maxMemory || m.bytes+r.size > maxMemoryBytes {
		return
	}
	m.young[k] = r
	m.bytes += r.size
}

// take takes a record out; the zero value when it is not known.
func (m *memory) take(k turnKey) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := m.young
	if _, ok := from[k]; !ok {
		from = m.old
	}
	r := from[k]
	delete(from, k)
	return r
}

// nextRound forgets what the round before did not ask for.
func (m *memory) nextRound() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.old)
	m.young, m.old = m.old, m.young
	m.bytes = 0
}

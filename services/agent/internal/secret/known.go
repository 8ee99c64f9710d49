package secret

import (
	"sync"
	"time"
)

const (
	// Age is how old a value may be that is used: for so long a call may still be made with a secret that another process changed or
	// deleted.
	Age = 10 * time.Second
	// maxKnown bounds how many values are remembered.
	maxKnown = 1024
)

// known remembers values that were read, for Age. It is safe for concurrent use.
type known struct {
	mu      sync.RWMutex
	values  map[key]value
	changes uint64 // how often drop was called
}

type key struct{ instance, name string }

type value struct {
	text string
	read time.Time
}

func newKnown() *known { return &known{values: make(map[key]value)} }

func (k *known) get(instance, name string, now time.Time) (string, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	found, ok := k.values[key{instance, name}]
	age := now.Sub(found.read)
	return found.text, ok && age >= 0 && age < Age
}

// mark is asked for before a value is read, and given to put.
func (k *known) mark() uint64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.changes
}

// put remembers a value that was read no earlier than at the given time; not when any was dropped since the mark, for it may be what was
// read.
func (k *known) put(mark uint64, instance, name, text string, read time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if mark != k.changes {
		return
	}
	if len(k.values) >= maxKnown {
		clear(k.values) // those in use are back with their next call
	}
	k.values[key{instance, name}] = value{text: text, read: read}
}

func (k *known) drop(instance, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	delete(k.values, key{instance, name})
}

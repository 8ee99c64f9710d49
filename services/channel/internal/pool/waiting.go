package pool

import (
	"sync"
	"sync/atomic"
)

// Waiting remembers which queues have work in the store that found no slot, so
// that new work does not overtake it, and nobody looks at the store for nothing.
// A look at the store may miss what comes while it lasts; so what is added since
// a look began stays for the next one. The zero value has none waiting. It is
// safe for concurrent use.
type Waiting[K comparable] struct {
	count atomic.Int64

	mu     sync.Mutex
	looks  uint64
	queues map[K]uint64 // during which look the last of their work was added
}

// Look begins a look at the store.
func (w *Waiting[K]) Look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
}

// Found ends a look: the given queues have work that waits, and so do those that
// were added since Look; all others have none.
func (w *Waiting[K]) Found(queues []K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for queue, look := range w.queues {
		if look < w.looks {
			delete(w.queues, queue)
		}
	}
	for _, queue := range queues {
		if _, ok := w.queues[queue]; !ok {
			w.set(queue, w.looks-1)
		}
	}
	w.count.Store(int64(len(w.queues)))
}

// Add says that work of a queue waits.
func (w *Waiting[K]) Add(queue K) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(queue, w.looks)
	w.count.Store(int64(len(w.queues)))
}

// set is Add without the count; the caller holds the lock.
func (w *Waiting[K]) set(queue K, look uint64) {
	if w.queues == nil {
		w.queues = make(map[K]uint64)
	}
	w.queues[queue] = look
}

// Has reports whether work of a queue waits.
func (w *Waiting[K]) Has(queue K) bool {
	if !w.Any() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.queues[queue]
	return ok
}

// Any reports whether work of any queue waits.
func (w *Waiting[K]) Any() bool { return w.count.Load() > 0 }

// Each calls do for each queue that has work waiting; do must not use w.
func (w *Waiting[K]) Each(do func(queue K)) {
	if !w.Any() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for queue := range w.queues {
		do(queue)
	}
}

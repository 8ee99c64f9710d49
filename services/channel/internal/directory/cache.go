package directory

import (
	"errors"
	"sync"
	"time"
)

const (
	// ttl is how long a change made by another process may go unseen. Changes
	// made by this one are seen at once.
	ttl = 2 * time.Second
	// maxEntries bounds the memory; a process with more active endpoints reads
	// some of them more often.
	maxEntries = 16_384
)

// cache remembers what was read under an id. It is safe for concurrent use.
type cache[T any] struct {
	mu      sync.RWMutex
	entries map[string]entry[T]
	// absent is until when ids are known to name nothing. It is kept apart, so
	// that whoever tries many ids pushes out nothing that there is.
	absent map[string]time.Time
	// generation counts the forgotten, so that a read that began before a
	// change is not remembered after it.
	generation uint64
}

type entry[T any] struct {
	value T
	until time.Time
}

// get returns what read gives for the id, as it was at most ttl ago. Of its
// errors only missing, that there is no such thing, is remembered.
func (c *cache[T]) get(id string, now time.Time, missing error, read func() (T, error)) (T, error) {
	c.mu.RLock()
	known, ok := c.entries[id]
	until, gone := c.absent[id]
	generation := c.generation
	c.mu.RUnlock()
	if ok && now.Before(known.until) {
		return known.value, nil
	}
	if gone && now.Before(until) {
		var none T
		return none, missing
	}
	value, err := read()
	switch {
	case err == nil:
		c.remember(id, generation, entry[T]{value: value, until: now.Add(ttl)})
	case errors.Is(err, missing):
		c.rememberAbsent(id, generation, now.Add(ttl))
	}
	return value, err
}

func (c *cache[T]) remember(id string, generation uint64, e entry[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.entries == nil || len(c.entries) >= maxEntries {
		c.entries = make(map[string]entry[T])
	}
	c.entries[id] = e
	delete(c.absent, id)
}

func (c *cache[T]) rememberAbsent(id string, generation uint64, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.absent == nil || len(c.absent) >= maxEntries {
		c.absent = make(map[string]time.Time)
	}
	c.absent[id] = until
	delete(c.entries, id)
}

// knows reports whether the id was found when it was last looked for, however
// long ago.
func (c *cache[T]) knows(id string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.entries[id]
	return ok
}

// forgetAll makes every next get read anew.
func (c *cache[T]) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.entries, c.absent = nil, nil
}

// forget makes the next get read anew.
func (c *cache[T]) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	delete(c.entries, id)
	delete(c.absent, id)
}

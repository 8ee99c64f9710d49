package contacts

import (
	"sync"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

// maxExtents bounds the remembered counts; some 300 bytes each.
const maxExtents = 4096

// extentCache counts what filters find without counting the same attendances or events again and again. What a filter finds among
// numbers that are given already changes only when some are deleted, and then the number of those that are left says so. So a count is
// remembered with the last number it knows of, and the next time only what came after is counted.
type extentCache struct {
	mu    sync.Mutex
	known map[string]knownExtent
}

// knownExtent is what a filter finds among the numbers up to through, when so many of them were deleted.
type knownExtent struct {
	extent           store.Extent
	through, deleted int64
}

func newExtentCache() *extentCache { return &extentCache{known: make(map[string]knownExtent)} }

// measure is what a filter finds among the numbers from 1 to the last, of which so many were deleted. The filter is a value that is
// the same whenever the same is asked, without bounds of numbers; count counts what it finds between two numbers, both inclusive. The
// filter names no persons: who has an attribute changes.
func (c *extentCache) measure(
	filter any, through, deleted int64, count func(low, high int64) (store.Extent, error),
) (store.Extent, error) {
	key := filterKey(filter)
	c.mu.Lock()
	base, ok := c.known[key]
	c.mu.Unlock()
	if !ok || base.deleted != deleted || base.through > through {
		base = knownExtent{deleted: deleted}
	}
	if base.through == through {
		return base.extent, nil
	}
	more, err := count(base.through+1, through)
	if err != nil {
		return store.Extent{}, err
	}
	base.extent, base.through = joined(base.extent, more), through

	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.known[key]; !there && len(c.known) >= maxExtents {
		for other := range c.known {
			delete(c.known, other) // any one
			break
		}
	}
	c.known[key] = base
	return base.extent, nil
}

// joined is the extent of two ranges of numbers, the lower one first.
func joined(low, high store.Extent) store.Extent {
	switch {
	case low.Count == 0:
		return high
	case high.Count == 0:
		return low
	default:
		return store.Extent{Count: low.Count + high.Count, Low: low.Low, High: high.High}
	}
}

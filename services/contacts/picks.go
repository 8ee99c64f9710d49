package contacts

import (
	"slices"
	"sync"
)

// maxPicked bounds the numbers that are remembered altogether; 8 bytes each.
const maxPicked = 4 << 20

// maxPassed is how many rows a page may pass over to find what it gives. What has more between its matches is picked.
const maxPassed = 8

// picks remembers the numbers of what filters find when it does not lie in one piece in an index: a page then reads these and no
// others, where it would have passed over any number of rows. The list is made by what counts anyway, reads nothing but an index, and
// lives in this process alone: a walk that comes to another one, or comes late, has it made again. What a filter finds among numbers
// that are given already stays the same, so walks share the list, and only what came after is added.
type picks struct {
	mu    sync.Mutex
	size  int // of all lists
	known map[string]picked
}

// picked is all that a filter found from low to high, the least first, when so many had been deleted. The list is never changed, only
// replaced.
type picked struct {
	low, high, deleted int64
	numbers            []int64
}

func newPicks() *picks { return &picks{known: make(map[string]picked)} }

// between is what a filter finds between two numbers, both inclusive, the least first. It may have some that were deleted after so many
// others. The filter is a value that is the same whenever the same is asked, without bounds of numbers; read reads what it finds between
// two numbers. anew says that what is known is not to be used: the filter finds other things than before.
func (p *picks) between(
	filter any, low, high, deleted int64, anew bool, read func(low, high int64) ([]int64, error),
) ([]int64, error) {
	key := filterKey(filter)
	p.mu.Lock()
	list, ok := p.known[key]
	p.mu.Unlock()
	switch {
	case !ok || anew || list.deleted < deleted || list.low > low:
		numbers, err := read(low, high)
		if err != nil {
			return nil, err
		}
		list = picked{low: low, high: high, deleted: deleted, numbers: numbers}
		p.keep(key, list)
	case list.high < high:
		more, err := read(list.high+1, high)
		if err != nil {
			return nil, err
		}
		list.high, list.numbers = high, slices.Concat(list.numbers, more)
		p.keep(key, list)
	}
	from, _ := slices.BinarySearch(list.numbers, low)
	until, _ := slices.BinarySearch(list.numbers, high+1)
	return list.numbers[from:until], nil
}

// keep remembers a list, in place of any other ones if there is no room.
func (p *picks) keep(key string, list picked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(key)
	if weight(key, list) > maxPicked {
		return
	}
	for other := range p.known {
		if p.size+weight(key, list) <= maxPicked {
			break
		}
		p.drop(other)
	}
	p.known[key] = list
	p.size += weight(key, list)
}

func (p *picks) drop(key string) {
	if list, ok := p.known[key]; ok {
		p.size -= weight(key, list)
		delete(p.known, key)
	}
}

// weight is how many numbers would take as much room.
func weight(key string, list picked) int { return len(list.numbers) + len(key)/8 + 32 }

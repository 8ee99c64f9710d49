package contacts

import (
	"context"
	"time"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

// eventStore is what queries for events need of the store.
type eventStore interface {
	EventNumbers(ctx context.Context, instance string) (last, count int64, err error)
	MeasureEvents(ctx context.Context, f store.EventFilter) (store.Extent, error)
	SelectEvents(ctx context.Context, f store.EventFilter) ([]int64, error)
	EventPage(ctx context.Context, f store.EventFilter, ascending bool, limit int, maxBytes int64) (page []store.Event, more bool, err error)
}

// eventQueries finds events.
type eventQueries struct {
	store    eventStore
	extents  *extentCache
	picks    *picks
	maxBytes int64
}

// foundEvents is one page, and where the next one begins; nil when this is the last.
type foundEvents struct {
	events []store.Event
	next   *walk
}

// begin finds out what there is to walk over. Its high bound is the last number given so far, which every event that comes later is
// above of.
func (q *eventQueries) begin(ctx context.Context, c eventCriteria, place *time.Location) (walk, error) {
	last, count, err := q.store.EventNumbers(ctx, c.instance)
	if err != nil || count == 0 {
		return walk{}, err
	}
	w := walk{Low: 1, High: last, Count: count, Deleted: last - count}
	if c.everything() {
		return w, nil
	}
	w.From, w.Until = c.span(place)
	f := c.filter(w)
	measure := func(low, high int64) (store.Extent, error) {
		f.Low, f.High = low, high
		return q.store.MeasureEvents(ctx, f)
	}
	var extent store.Extent
	switch {
	case f.Identifier != nil:
		var numbers []int64
		numbers, err = q.pick(ctx, w, f)
		extent = extentOf(numbers)
	case f.AttendanceID != nil:
		extent, err = measure(1, last) // it has few
	default:
		key := f
		key.Low, key.High = 0, 0
		extent, err = q.extents.measure(key, last, last-count, measure)
	}
	w.Low, w.High, w.Count = extent.Low, extent.High, extent.Count
	passed := extent.High - extent.Low + 1 - extent.Count
	w.Picked = !f.Contiguous() && extent.Count <= maxPicked && (!f.OnlyTimes() || passed > maxPassed)
	return w, err
}

// pick is the numbers of what a filter finds, the least first.
func (q *eventQueries) pick(ctx context.Context, w walk, f store.EventFilter) ([]int64, error) {
	key := f
	key.Low, key.High = 0, 0
	return q.picks.between(key, f.Low, f.High, w.Deleted, false, func(low, high int64) ([]int64, error) {
		f.Low, f.High = low, high
		return q.store.SelectEvents(ctx, f)
	})
}

// page gives the next page of a walk.
func (q *eventQueries) page(ctx context.Context, c eventCriteria, w walk) (foundEvents, error) {
	if w.Count == 0 {
		return foundEvents{}, nil
	}
	events, more, err := q.read(ctx, c, w)
	if err != nil {
		return foundEvents{}, err
	}
	result := foundEvents{events: events}
	if more {
		if last := events[len(events)-1].ID; c.ascending {
			w.Low = last + 1
		} else {
			w.High = last - 1
		}
		result.next = &w
	}
	return result, nil
}

// read gives what is next in a walk, and reports whether there is more behind it.
func (q *eventQueries) read(ctx context.Context, c eventCriteria, w walk) (page []store.Event, more bool, err error) {
	f := c.filter(w)
	if !w.Picked {
		return q.store.EventPage(ctx, f, c.ascending, c.limit, q.maxBytes)
	}
	numbers, err := q.pick(ctx, w, f)
	if err != nil {
		return nil, false, err
	}
	for len(page) == 0 && len(numbers) > 0 { // once, unless all of these were deleted meanwhile
		n := min(len(numbers), c.limit)
		if c.ascending {
			f.Numbers, numbers = numbers[:n], numbers[n:]
		} else {
			f.Numbers, numbers = numbers[len(numbers)-n:], numbers[:len(numbers)-n]
		}
		if page, more, err = q.store.EventPage(ctx, f, c.ascending, c.limit, q.maxBytes); err != nil {
			return nil, false, err
		}
	}
	return page, more || len(page) > 0 && len(numbers) > 0, nil
}

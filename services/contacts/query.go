package contacts

import (
	"context"
	"slices"
	"time"

	"github.com/prosa-chat/prosa/services/contacts/internal/store"
)

// maxHistoryBytes is about how much history and events one page has at most; an answer has 4 MiB at most. A page ends early
// rather than have more, unless its first attendance alone has.
const maxHistoryBytes = 2 << 20

// queryStore is what queries need of the store.
type queryStore interface {
	Attendances(ctx context.Context, instance string) (last, count int64, err error)
	Contacts(ctx context.Context, instance string, p store.People, limit int) ([]string, error)
	Measure(ctx context.Context, f store.Filter) (store.Extent, error)
	Select(ctx context.Context, f store.Filter) ([]int64, error)
	Page(ctx context.Context, f store.Filter, limit int) ([]store.Attendance, error)
	Attributes(ctx context.Context, instance string, contacts []string) (map[string]map[string]string, error)
	Weights(ctx context.Context, instance string, attendances []int64) (map[int64]int64, error)
	History(ctx context.Context, instance string, attendances []int64) (map[int64][][]byte, error)
	Events(ctx context.Context, instance string, attendances []int64) (map[int64][]store.Event, error)
}

// queries finds attendances.
type queries struct {
	store           queryStore
	extents         *extentCache
	picks           *picks
	maxHistoryBytes int64
}

// found is one page, and where the next one begins; nil when this is the last.
type found struct {
	attendances []store.Attendance
	attributes  map[string]map[string]string
	history     map[int64][][]byte
	events      map[int64][]store.Event
	count       int64
	next        *walk
}

// begin finds out what there is to walk over. Its high bound is the last number given so far, which every attendance opened later
// is above of.
func (q *queries) begin(ctx context.Context, c criteria, place *time.Location) (walk, error) {
	last, count, err := q.store.Attendances(ctx, c.instance)
	if err != nil || count == 0 {
		return walk{}, err
	}
	if c.everything() {
		return walk{Low: 1, High: last, Count: count}, nil
	}
	var w walk
	w.From, w.Until = c.span(place)
	if c.people != nil {
		contacts, err := q.store.Contacts(ctx, c.instance, *c.people, maxPinned+1)
		if err != nil || len(contacts) == 0 {
			return walk{}, err
		}
		if len(contacts) <= maxPinned {
			w.Contacts = contacts
		}
	}
	w.Low, w.High, w.Deleted = 1, last, last-count
	f := w.filter(c)
	var extent store.Extent
	switch {
	case c.people == nil:
		f.Low, f.High = 0, 0
		extent, err = q.extents.measure(f, last, last-count, func(low, high int64) (store.Extent, error) {
			f.Low, f.High = low, high
			return q.store.Measure(ctx, f)
		})
	case f.Contiguous():
		extent, err = q.store.Measure(ctx, f)
	default:
		// Who has an attribute changes, so those who are not pinned are looked up anew.
		var numbers []int64
		numbers, err = q.pick(ctx, w, f, f.Contacts == nil)
		extent = extentOf(numbers)
	}
	if err != nil {
		return walk{}, err
	}
	w.Low, w.High, w.Count = extent.Low, extent.High, extent.Count
	passed := extent.High - extent.Low + 1 - extent.Count
	w.Picked = !f.Contiguous() && extent.Count <= maxPicked && (!f.OnlyDays() || passed > maxPassed)
	return w, nil
}

// pick is the numbers of what a filter finds, the least first.
func (q *queries) pick(ctx context.Context, w walk, f store.Filter, anew bool) ([]int64, error) {
	key := f
	key.Low, key.High = 0, 0
	return q.picks.between(key, f.Low, f.High, w.Deleted, anew, func(low, high int64) ([]int64, error) {
		f.Low, f.High = low, high
		return q.store.Select(ctx, f)
	})
}

// extentOf is the extent of numbers, the least first.
func extentOf(numbers []int64) store.Extent {
	if len(numbers) == 0 {
		return store.Extent{}
	}
	return store.Extent{Count: int64(len(numbers)), Low: numbers[0], High: numbers[len(numbers)-1]}
}

// filter is what is left of a walk.
func (w walk) filter(c criteria) store.Filter {
	f := c.filter()
	f.Low, f.High = w.Low, w.High
	f.From, f.Until = w.From, w.Until
	if len(w.Contacts) > 0 {
		f.Contacts = w.Contacts
	} else {
		f.People = c.people
	}
	return f
}

// page gives the next page of a walk.
func (q *queries) page(ctx context.Context, c criteria, w walk) (found, error) {
	result := found{count: w.Count}
	if w.Count == 0 {
		return result, nil
	}
	page, err := q.read(ctx, c, w, c.limit+1)
	if err != nil {
		return found{}, err
	}
	more := len(page) > c.limit
	page = page[:min(len(page), c.limit)]
	if len(page) == 0 {
		return result, nil
	}
	if c.history || c.events {
		fitting, err := q.fitting(ctx, c.instance, page)
		if err != nil {
			return found{}, err
		}
		more = more || fitting < len(page)
		page = page[:fitting]
	}
	result.attendances = page
	if more {
		w.High = page[len(page)-1].ID - 1
		result.next = &w
	}
	return result, q.complete(ctx, c, &result)
}

// read gives what is next in a walk, so many at most.
func (q *queries) read(ctx context.Context, c criteria, w walk, limit int) ([]store.Attendance, error) {
	f := w.filter(c)
	if !w.Picked {
		return q.store.Page(ctx, f, limit)
	}
	numbers, err := q.pick(ctx, w, f, false)
	if err != nil {
		return nil, err
	}
	var page []store.Attendance
	for len(page) < limit && len(numbers) > 0 { // once, unless some were deleted meanwhile
		rest := max(0, len(numbers)-(limit-len(page)))
		f.Numbers, numbers = numbers[rest:], numbers[:rest]
		part, err := q.store.Page(ctx, f, limit)
		if err != nil {
			return nil, err
		}
		page = append(page, part...)
	}
	return page, nil
}

// fitting is how many attendances of a page can be given with their history and events, at least one.
func (q *queries) fitting(ctx context.Context, instance string, page []store.Attendance) (int, error) {
	weights, err := q.store.Weights(ctx, instance, numbers(page))
	if err != nil {
		return 0, err
	}
	var total int64
	for n, a := range page {
		total += weights[a.ID]
		if n > 0 && total > q.maxHistoryBytes {
			return n, nil
		}
	}
	return len(page), nil
}

// complete adds what belongs to the attendances of a page: one query for each kind, however many attendances there are.
func (q *queries) complete(ctx context.Context, c criteria, result *found) (err error) {
	contacts := make([]string, len(result.attendances))
	for n, a := range result.attendances {
		contacts[n] = a.ContactID
	}
	slices.Sort(contacts)
	if result.attributes, err = q.store.Attributes(ctx, c.instance, slices.Compact(contacts)); err != nil {
		return err
	}
	if c.history {
		if result.history, err = q.store.History(ctx, c.instance, numbers(result.attendances)); err != nil {
			return err
		}
	}
	if c.events {
		result.events, err = q.store.Events(ctx, c.instance, numbers(result.attendances))
	}
	return err
}

func numbers(page []store.Attendance) []int64 {
	list := make([]int64, len(page))
	for n, a := range page {
		list[n] = a.ID
	}
	return list
}

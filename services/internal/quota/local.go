package quota

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

// Ledger keeps the counts of a Local on disk. Its methods return when what they say is durable.
type Ledger interface {
	// Load gives the entries of subjects of one instance, in their order; the zero Entry, but for its Subject, where there is none.
	Load(ctx context.Context, subjects []Subject) ([]Entry, error)
	// Save puts the entries in the place of those that were there, all or none.
	Save(ctx context.Context, entries []Entry) error
}

// Entry is what a ledger keeps of a subject.
type Entry struct {
	Subject
	// Day is the day that Used is of.
	Day int64
	// Used is how many calls of the day count: the exact number in a closed entry, else as many as may have been allowed.
	Used int64
	// Last is when a call was allowed last. It is there in closed entries only: those that a process left that ended in order.
	Last time.Time
}

const (
	// blocksADay is into how many blocks the calls of a day are cut, each of which is reserved on disk by one write. Of a block
	// that was begun when the process was killed, the rest is lost: a five-hundredth of the day.
	blocksADay = 500
	// maxBlock is the largest block, and the block where days have no limit.
	maxBlock = 100
	// maxCounts is how many subjects are held in memory before quiet ones are let go: some 30 MiB.
	maxCounts = 65_536
)

// Local is a Counter for a process that shares its ledger with no other. It counts in memory, and reserves the calls of a day in
// blocks on disk, so that a call hardly ever waits for the disk and a count survives the process. It is safe for concurrent use.
//
// What is not on disk are the calls of the last second. A process that follows one that was killed lets no call through, of those
// subjects that had an open entry, in its own first second; after an end in order, in the second after the subject's last call.
type Local struct {
	ledger Ledger
	clock  clock.Clock
	opened time.Time

	mu     sync.Mutex
	counts map[Subject]*count
	closed bool
}

// count is what is known of a subject.
type count struct {
	mu     sync.Mutex
	loaded bool
	day    int64
	used   int64
	// reserved is how many calls of the day are on disk; never less than used.
	reserved int64
	// times are the allowed calls of the last second, oldest first.
	times []time.Time
	last  time.Time
	// fullUntil is how long calls of a process before this one may still count.
	fullUntil time.Time
}

var (
	_ Counter = (*Local)(nil)
	_ Reader  = (*Local)(nil)
)

// NewLocal returns a counter over a ledger that nobody else writes.
func NewLocal(ledger Ledger, c clock.Clock) *Local {
	return &Local{ledger: ledger, clock: c, opened: c.Now(), counts: make(map[Subject]*count)}
}

// Take counts a call, if that is allowed. It fails when the ledger does; the call then does not count.
func (l *Local) Take(ctx context.Context, ask Ask) (Tally, error) {
	c, closed := l.of(ask.Subject)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := l.load(ctx, ask.Subject, c); err != nil {
		return Tally{}, err
	}
	now := l.clock.Now()
	day, fresh := Current(c.day, ask.Day)
	used := c.used
	if fresh {
		used = 0
	}
	used = max(used, ask.Floor) + ask.Add
	tally := Tally{Day: day, Used: used}
	tally.Recent, tally.Reset = c.recent(now, ask.PerSecond)
	if dayIsUsed(ask.Limits, used) || ask.PerSecond > 0 && tally.Recent >= ask.PerSecond {
		tally.Used -= ask.Add
		return tally, nil
	}
	used++
	if fresh || used > c.reserved {
		entry := Entry{Subject: ask.Subject, Day: day, Used: used - 1 + block(ask.PerDay)}
		if ask.PerDay > 0 {
			entry.Used = min(entry.Used, int64(ask.PerDay))
		}
		if closed {
			entry.Used, entry.Last = used, now
		}
		if err := l.ledger.Save(ctx, []Entry{entry}); err != nil {
			return Tally{}, fmt.Errorf("reserve calls: %w", err)
		}
		c.reserved = entry.Used
		now = l.clock.Now() // writing takes time, and the call goes on only now
	}
	c.day, c.used, c.last = day, used, now
	if ask.PerSecond > 0 {
		c.times = append(c.times, now)
	}
	tally.Allowed, tally.Used = true, used
	tally.Recent, tally.Reset = c.recent(now, ask.PerSecond)
	return tally, nil
}

// block is how many calls are reserved at once.
func block(perDay int) int64 {
	if perDay == 0 {
		return maxBlock
	}
	return int64(min(max(1, perDay/blocksADay), maxBlock))
}

// recent is how many calls of the last second there are, and how long the oldest of them still counts.
func (c *count) recent(now time.Time, perSecond int) (int, time.Duration) {
	for len(c.times) > 0 && now.Sub(c.times[0]) >= Window {
		c.times = c.times[1:]
	}
	if wait := c.fullUntil.Sub(now); wait > 0 {
		return perSecond, wait
	}
	if len(c.times) == 0 {
		return 0, 0
	}
	return len(c.times), Window - now.Sub(c.times[0])
}

// of is the count of a subject, and whether the counter is closed.
func (l *Local) of(subject Subject) (_ *count, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts[subject]
	if c == nil {
		l.makeRoom()
		c = &count{}
		l.counts[subject] = c
	}
	return c, l.closed
}

// makeRoom lets go of a subject that is quiet when there are too many. Its entry stays open, which costs it the rest of its block.
// It looks at a few only, in the map's random order.
func (l *Local) makeRoom() {
	const look = 16
	now, seen := l.clock.Now(), 0
	for subject, c := range l.counts {
		if seen++; len(l.counts) < maxCounts || seen > look {
			return
		}
		if c.mu.TryLock() {
			if now.Sub(c.last) >= Window && !now.Before(c.fullUntil) {
				delete(l.counts, subject)
			}
			c.mu.Unlock()
		}
	}
}

// load reads what an earlier process, or an earlier count, left.
func (l *Local) load(ctx context.Context, subject Subject, c *count) error {
	if c.loaded {
		return nil
	}
	entries, err := l.ledger.Load(ctx, []Subject{subject})
	if err != nil {
		return fmt.Errorf("load count of calls: %w", err)
	}
	e := entries[0]
	c.loaded, c.day, c.used, c.reserved = true, e.Day, e.Used, e.Used
	switch {
	case e.Day == 0: // there is none
	case e.Last.IsZero():
		c.fullUntil = l.opened.Add(Window)
	default:
		c.fullUntil = e.Last.Add(Window)
		if limit := l.opened.Add(Window); c.fullUntil.After(limit) {
			c.fullUntil = limit // the clock was set back between the two processes
		}
	}
	return nil
}

// Used is how many calls of the day count.
func (l *Local) Used(ctx context.Context, day int64, subjects []Subject) ([]int64, error) {
	entries, err := l.ledger.Load(ctx, subjects)
	if err != nil {
		return nil, fmt.Errorf("load counts of calls: %w", err)
	}
	used := make([]int64, len(subjects))
	for i, subject := range subjects {
		counted, n := entries[i].Day, entries[i].Used
		l.mu.Lock()
		c := l.counts[subject]
		l.mu.Unlock()
		if c != nil {
			c.mu.Lock()
			if c.loaded {
				counted, n = c.day, c.used
			}
			c.mu.Unlock()
		}
		if _, fresh := Current(counted, day); !fresh {
			used[i] = n
		}
	}
	return used, nil
}

// Close gives back to the ledger what is reserved and not used. Calls may go on: each is then written as it comes.
func (l *Local) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	open := make(map[Subject]*count, len(l.counts))
	for subject, c := range l.counts {
		open[subject] = c
	}
	l.mu.Unlock()
	var entries []Entry
	for subject, c := range open {
		c.mu.Lock()
		defer c.mu.Unlock() // until the entries are on disk: a call between would write one that is older than its own
		if c.loaded && !c.last.IsZero() {
			entries = append(entries, Entry{Subject: subject, Day: c.day, Used: c.used, Last: c.last})
		}
	}
	if len(entries) == 0 {
		return nil
	}
	if err := l.ledger.Save(ctx, entries); err != nil {
		return fmt.Errorf("close counts of calls: %w", err)
	}
	for _, e := range entries {
		open[e.Subject].reserved = e.Used
	}
	return nil
}

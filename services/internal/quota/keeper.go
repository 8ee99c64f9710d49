package quota

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prosa-chat/prosa/services/internal/clock"
)

const (
	// askWithin is how long a counter may take to answer.
	askWithin = time.Second
	// probeEvery is how often a counter that does not answer is asked again, by one call at a time.
	probeEvery = time.Second
	// aloneShare is which part of the limits one process grants while the counter cannot be reached: so many processes stay within
	// them together.
	aloneShare = 10
	// waryFor is how long, after the counter is back, other processes may not have noticed, and calls that they let through without it
	// still count: one of their questions may just be failing, the next one comes after a pause and takes its time.
	waryFor = askWithin + probeEvery + askWithin + Window
	// maxShares is how many subjects a process remembers something of: some 20 MiB.
	maxShares = 65_536
	// shareQuiet is how long a subject is quiet before it may be forgotten.
	shareQuiet = time.Minute
)

// KeeperDeps is what a Keeper works with. All are required unless they say otherwise.
type KeeperDeps struct {
	// Counter is asked once for each call that may be allowed.
	Counter Counter
	// Zone is where an instance is, which decides when its days begin.
	Zone   func(ctx context.Context, instance string) (*time.Location, error)
	Clock  clock.Clock
	Logger *slog.Logger
	// Metrics gets the prosa_quota_… metrics. Nil: none are kept.
	Metrics prometheus.Registerer
}

// Keeper keeps the calls that one process serves within limits that hold over all processes. It asks the counter once for a call;
// what the counter refused it refuses again by itself for as long as that must hold, so callers that do not stop cost nothing. It
// is safe for concurrent use.
//
// While the counter cannot be reached the process is on its own, and grants each subject little: nothing in the first second, for
// others may have let calls through just before; then a tenth of the limit a second, and never more than one call a second; and of
// the day a tenth. What it let through is added to the count at the subject's next call when the counter is back. For four seconds
// more it grants as little, but counted, for others may not have noticed yet and grant what is not.
type Keeper struct {
	KeeperDeps
	metrics *metrics

	mu     sync.Mutex
	shares map[Subject]*share
	sweep  time.Time
	// alone says that the counter cannot be reached, since a time; probe is when it may be asked again.
	alone bool
	since time.Time
	probe time.Time
	// wary is until when others may still be on their own.
	wary time.Time
}

// share is what the process knows of a subject.
type share struct {
	zone *time.Location
	// day and used are what the counter said last.
	day, used int64
	// pending is how many calls of the day were let through and are not counted yet.
	pending int64
	// refusedUntil is how long the counter would refuse.
	refusedUntil time.Time
	// alone is when a call was let through without the counter, or while others may be without it.
	alone time.Time
	seen  time.Time
}

// NewKeeper returns a keeper. It fails when its metrics are registered already.
func NewKeeper(deps KeeperDeps) (*Keeper, error) {
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, err
	}
	return &Keeper{KeeperDeps: deps, metrics: m, shares: make(map[Subject]*share), sweep: deps.Clock.Now().Add(shareQuiet)}, nil
}

// Take counts a call of a subject against its limits, if they allow it. The error is that the caller has left.
func (k *Keeper) Take(ctx context.Context, subject Subject, limits Limits) (Verdict, error) {
	zone, zoneErr := k.Zone(ctx, subject.Instance)
	now := k.Clock.Now()
	k.mu.Lock()
	s := k.share(subject, now)
	if zoneErr == nil {
		s.zone = zone
	}
	day := DayOf(now, s.zone)
	verdict, decided := k.decide(s, limits, now, day)
	if decided {
		k.mu.Unlock()
		k.metrics.judged(subject.Kind, verdict.Allowed)
		return verdict, nil
	}
	ask := Ask{Subject: subject, Limits: limits, Day: s.day, Floor: s.used, Add: s.pending}
	s.pending = 0 // of two calls at once one says it
	k.mu.Unlock()

	tally, err := k.ask(ctx, ask)
	if err != nil && ctx.Err() != nil {
		k.mu.Lock()
		k.owe(s, ask)
		k.mu.Unlock()
		return Verdict{}, ctx.Err()
	}
	k.mu.Lock()
	if err != nil {
		k.owe(s, ask)
		k.lose(ctx, err)
		verdict = k.judgeAlone(s, limits, k.Clock.Now(), day)
	} else {
		k.find(ctx)
		verdict = k.learn(s, ask, tally, now, day)
		if verdict.Allowed && now.Before(k.wary) {
			s.alone = now.Add(alonePause(limits) - Window) // so that the next one is in a pause
		}
	}
	k.mu.Unlock()
	k.metrics.judged(subject.Kind, verdict.Allowed)
	return verdict, nil
}

// ask asks the counter, which may take its time, but not too much.
func (k *Keeper) ask(ctx context.Context, ask Ask) (Tally, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return k.Counter.Take(ctx, ask)
}

// decide judges a call without the counter, where that can be done.
func (k *Keeper) decide(s *share, limits Limits, now time.Time, day Day) (_ Verdict, decided bool) {
	current, fresh := Current(s.day, day.Number)
	if fresh {
		s.day, s.used, s.pending = current, 0, 0
	}
	refusal := Tally{Day: current, Used: s.used + s.pending, Recent: limits.PerSecond}
	switch {
	case dayIsUsed(limits, refusal.Used):
		refusal.Recent = 0
		return verdictOf(limits, refusal, now, day), true
	case now.Before(s.refusedUntil):
		refusal.Reset = s.refusedUntil.Sub(now)
		return verdictOf(limits, refusal, now, day), true
	case now.Before(s.alone.Add(Window)):
		// The counter does not know of that call: when it is back, it is asked again when that call no longer counts.
		refusal.Reset = s.alone.Add(Window).Sub(now)
		return verdictOf(limits, refusal, now, day), true
	case k.alone && now.Before(k.probe):
		return k.judgeAlone(s, limits, now, day), true
	}
	if k.alone {
		k.probe = now.Add(askWithin + probeEvery) // others need not wait for the answer
	}
	return Verdict{}, false
}

// judgeAlone judges a call while the counter cannot be reached.
func (k *Keeper) judgeAlone(s *share, limits Limits, now time.Time, day Day) Verdict {
	every := alonePause(limits)
	tally := Tally{Day: s.day, Used: s.used + s.pending, Recent: limits.PerSecond}
	from := k.since.Add(Window)
	if next := s.alone.Add(every); next.After(from) {
		from = next
	}
	switch {
	case now.Before(from):
		tally.Reset = from.Sub(now)
		return verdictOf(limits, tally, now, day)
	case limits.PerDay > 0 && s.pending >= int64(max(1, limits.PerDay/aloneShare)):
		tally.Used, tally.Recent = int64(limits.PerDay), 0
		return verdictOf(limits, tally, now, day)
	}
	s.pending++
	s.alone = now
	tally.Allowed, tally.Used, tally.Reset = true, tally.Used+1, every
	return verdictOf(limits, tally, now, day)
}

// alonePause is the least time between two calls of a subject that one process grants on its own.
func alonePause(limits Limits) time.Duration {
	if limits.PerSecond > 0 && limits.PerSecond < aloneShare {
		return Window * aloneShare / time.Duration(limits.PerSecond)
	}
	return Window
}

// learn remembers what the counter said of a call that began at now.
func (k *Keeper) learn(s *share, ask Ask, tally Tally, now time.Time, day Day) Verdict {
	if !tally.Allowed {
		k.owe(s, ask)
		if tally.Reset > 0 && !dayIsUsed(ask.Limits, tally.Used) {
			// Counted from before the counter was asked, so that no call is refused that it would allow.
			s.refusedUntil = now.Add(tally.Reset)
		}
	}
	if tally.Day > s.day {
		s.day, s.used, s.pending = tally.Day, 0, 0
	}
	if tally.Day == s.day {
		s.used = max(s.used, tally.Used)
	}
	return verdictOf(ask.Limits, tally, k.Clock.Now(), day)
}

// owe takes back what was to be added to the count, unless its day is over.
func (k *Keeper) owe(s *share, ask Ask) {
	if s.day == ask.Day {
		s.pending += ask.Add
	}
}

// lose notes that the counter cannot be reached.
func (k *Keeper) lose(ctx context.Context, cause error) {
	now := k.Clock.Now()
	k.probe = now.Add(probeEvery)
	if k.alone {
		return
	}
	k.alone, k.since = true, now
	k.metrics.alone(true)
	k.Logger.LogAttrs(ctx, slog.LevelWarn,
		"the count of calls cannot be reached; until it can, this process lets at most one call a second of each key through",
		slog.Any("error", cause))
}

// find notes that the counter answers.
func (k *Keeper) find(ctx context.Context) {
	if !k.alone {
		return
	}
	k.alone, k.wary = false, k.Clock.Now().Add(waryFor)
	k.metrics.alone(false)
	k.Logger.LogAttrs(ctx, slog.LevelInfo, "the count of calls can be reached again")
}

// share is what is known of a subject.
func (k *Keeper) share(subject Subject, now time.Time) *share {
	k.forget(now)
	s := k.shares[subject]
	if s == nil {
		k.makeRoom(now)
		s = &share{zone: time.UTC}
		k.shares[subject] = s
	}
	s.seen = now
	return s
}

// forget lets go, now and then, of subjects that are quiet and owe nothing.
func (k *Keeper) forget(now time.Time) {
	if now.Before(k.sweep) {
		return
	}
	k.sweep = now.Add(shareQuiet)
	for subject, s := range k.shares {
		if s.pending == 0 && now.Sub(s.seen) >= shareQuiet {
			delete(k.shares, subject)
		}
	}
}

// makeRoom keeps the memory bounded when there are more subjects than it can hold. It looks at a few only, in the map's random
// order, and prefers one that owes nothing and was let through by the counter; what is forgotten of such a one is asked again.
func (k *Keeper) makeRoom(now time.Time) {
	const look = 16
	seen := 0
	for subject, s := range k.shares {
		if len(k.shares) < maxShares {
			return
		}
		if seen++; s.pending == 0 && now.Sub(s.alone) >= Window || seen > look {
			delete(k.shares, subject)
		}
	}
}

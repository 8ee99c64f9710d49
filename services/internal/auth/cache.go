package auth

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/rpcerr"
)

// fetchTimeout bounds a question that several callers share, and that therefore outlives the caller who asked first.
const fetchTimeout = 5 * time.Second

// cache remembers answers for a while, a bounded number of them, and lets callers who want the same answer at the same time
// share one question. Answers and refusals are bounded apart.
type cache[V any] struct {
	clock     clock.Clock
	maxGood   int
	maxBad    int
	badTTL    time.Duration
	isRefusal func(error) bool
	flight    singleflight.Group

	mu   sync.RWMutex
	good map[string]answer[V]
	bad  map[string]answer[V]
}

type answer[V any] struct {
	value V
	err   error
	until time.Time
}

// newCache returns a cache of at most maxGood answers and maxBad refusals. Errors that isRefusal knows are remembered for
// badTTL, others not at all.
func newCache[V any](c clock.Clock, maxGood, maxBad int, badTTL time.Duration, isRefusal func(error) bool) *cache[V] {
	return &cache[V]{
		clock: c, maxGood: maxGood, maxBad: maxBad, badTTL: badTTL, isRefusal: isRefusal,
		good: make(map[string]answer[V]), bad: make(map[string]answer[V]),
	}
}

// get is the remembered answer for the key, or what fetch says. fetch also says until when its answer holds. It runs under a
// context of its own: the caller whose turn it is may go away while others still wait for the answer.
func (c *cache[V]) get(ctx context.Context, key string, fetch func(context.Context) (V, time.Time, error)) (V, error) {
	if a, ok := c.lookup(key); ok {
		return a.value, a.err
	}
	done := c.flight.DoChan(key, func() (any, error) {
		if a, ok := c.lookup(key); ok {
			return a, nil // another flight landed between the look-up and this one
		}
		fetchCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		a := guarded(fetchCtx, fetch)
		c.remember(key, a)
		return a, nil
	})
	select {
	case result := <-done:
		a := result.Val.(answer[V])
		return a.value, a.err
	case <-ctx.Done():
		var none V
		return none, rpcerr.FromStore(ctx.Err())
	}
}

// guarded makes an error of a panic: singleflight would end the process with it.
func guarded[V any](ctx context.Context, fetch func(context.Context) (V, time.Time, error)) (a answer[V]) {
	defer func() {
		if value := recover(); value != nil {
			a = answer[V]{err: rpcerr.Internal(fmt.Errorf("ask accounts: panic of kind %T", value))}
		}
	}()
	a.value, a.until, a.err = fetch(ctx)
	return a
}

func (c *cache[V]) lookup(key string) (answer[V], bool) {
	now := c.clock.Now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	if a, ok := c.good[key]; ok && now.Before(a.until) {
		return a, true
	}
	if a, ok := c.bad[key]; ok && now.Before(a.until) {
		return a, true
	}
	return answer[V]{}, false
}

func (c *cache[V]) remember(key string, a answer[V]) {
	now := c.clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.good, key)
	delete(c.bad, key)
	switch {
	case a.err == nil:
		makeRoom(c.good, c.maxGood, now)
		c.good[key] = a
	case c.isRefusal(a.err):
		a.until = now.Add(c.badTTL)
		makeRoom(c.bad, c.maxBad, now)
		c.bad[key] = a
	}
}

// makeRoom leaves place for one more: what no longer holds goes first, and when all of it holds, any one goes. It looks at a
// few only, in the map's random order, so that a full cache costs no more than an empty one.
func makeRoom[V any](answers map[string]answer[V], limit int, now time.Time) {
	const look = 16
	seen := 0
	for key, a := range answers {
		if seen++; seen > look {
			break
		}
		if !now.Before(a.until) {
			delete(answers, key)
		}
	}
	for key := range answers {
		if len(answers) < limit {
			break
		}
		delete(answers, key)
	}
}

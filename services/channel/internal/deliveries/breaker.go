package deliveries

import (
	"net/http"
	"time"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

const (
	// tripAfter is how many failures in a row open the breaker.
	tripAfter = 10
	// minProbe and maxProbe bound the wait before the next probe, which doubles
	// with each one that fails.
	minProbe = time.Second
	maxProbe = time.Minute
)

// breaker says how many exchanges with an endpoint may go on at once.
//
// Usually that is the limit. A receiver that asks to slow down has it halved;
// each success gives one back. After failures in a row the breaker opens: one
// exchange at a time, a probe, and waits between them that grow. The first
// success closes it, and from then on the number grows again from one, so that
// what has piled up does not fall upon a receiver that has just come back.
type breaker struct {
	limit int
	// allowed is how many exchanges may go on while it is closed.
	allowed int
	// failures in a row.
	failures int
	// wait is how long it waited for the next probe, 0 while it is closed, and
	// probeAt is when that may be.
	wait    time.Duration
	probeAt time.Time
	// probing says that a probe is in flight. What fails while none is began
	// before it opened, and says nothing new.
	probing bool
	// quietUntil is when the receiver wants to be called again.
	quietUntil time.Time
}

func newBreaker(limit int) breaker { return breaker{limit: limit, allowed: limit} }

func (b *breaker) open() bool { return b.wait > 0 }

// pristine reports whether it says what a new one would.
func (b *breaker) pristine(now time.Time) bool {
	return b.failures == 0 && b.allowed == b.limit && !b.open() && !now.Before(b.quietUntil)
}

// most is how many exchanges may go on at once now.
func (b *breaker) most(now time.Time) int {
	switch {
	case now.Before(b.quietUntil), b.open() && now.Before(b.probeAt):
		return 0
	case b.open():
		return 1
	default:
		return b.allowed
	}
}

// learn takes note of what came of an exchange.
func (b *breaker) learn(outcome webhook.Outcome, now time.Time) {
	if outcome.Acknowledged {
		b.failures, b.wait, b.probing = 0, 0, false
		b.allowed = min(b.allowed+1, b.limit)
		return
	}
	if outcome.StatusCode == http.StatusTooManyRequests || outcome.StatusCode == http.StatusServiceUnavailable {
		if until := now.Add(outcome.RetryAfter); until.After(b.quietUntil) {
			b.quietUntil = until
		}
	}
	b.failures++
	switch {
	case b.probing:
		b.probing = false
		b.wait = min(2*b.wait, maxProbe)
		b.probeAt = now.Add(b.wait)
	case b.open():
	case b.failures >= tripAfter:
		b.allowed, b.wait, b.probeAt = 1, minProbe, now.Add(minProbe)
	case outcome.SlowDown:
		b.allowed = max(1, b.allowed/2)
	}
}

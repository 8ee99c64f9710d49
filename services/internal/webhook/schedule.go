package webhook

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	maxWaits = 64
	maxWait  = 7 * 24 * time.Hour
	// jitter is the part of a wait by which it is made longer or shorter, so
	// that deliveries that failed together do not come back together.
	jitter = 0.2
)

// ErrSchedule is wrapped by the errors of ParseSchedule.
var ErrSchedule = errors.New("want 1 to 64 durations above 0 and up to 168h, separated by commas")

// Rand is where jitter comes from: numbers in [0, 1). A *[math/rand/v2.Rand]
// is one.
type Rand interface{ Float64() float64 }

// Schedule is the waits between the attempts of a delivery. The zero value has
// none: one attempt, no retry.
type Schedule struct{ waits []time.Duration }

// DefaultSchedule returns the documented waits: 5s, 30s, 2m, 10m, 30m, 1h, 3h,
// 6h, 12h, 24h. That is eleven attempts in two days.
func DefaultSchedule() Schedule {
	return Schedule{waits: []time.Duration{
		5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	}}
}

// ParseSchedule reads durations separated by commas, as in "5s,30s,2m". Empty
// text is the default schedule.
func ParseSchedule(text string) (Schedule, error) {
	if strings.TrimSpace(text) == "" {
		return DefaultSchedule(), nil
	}
	var s Schedule
	for part := range strings.SplitSeq(text, ",") {
		wait, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil || wait <= 0 || wait > maxWait || len(s.waits) == maxWaits {
			return Schedule{}, fmt.Errorf("parse retry schedule: %w", ErrSchedule)
		}
		s.waits = append(s.waits, wait)
	}
	return s, nil
}

// String returns s as ParseSchedule reads it.
func (s Schedule) String() string {
	var text strings.Builder
	for i, wait := range s.waits {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(wait.String())
	}
	return text.String()
}

// UnmarshalText implements [encoding.TextUnmarshaler], so that a schedule can
// be a setting.
func (s *Schedule) UnmarshalText(text []byte) error {
	parsed, err := ParseSchedule(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (s Schedule) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Attempts returns how often a delivery is attempted before it is dead.
func (s Schedule) Attempts() int { return len(s.waits) + 1 }

// Next returns how long to wait after the attempt with the given number, from
// 1, has failed; ok is false if it was the last. The wait of the schedule is
// made up to 20 % longer or shorter by r. retryAfter, what the receiver asked
// for, can only lengthen it, to at most [MaxRetryAfter].
func (s Schedule) Next(attempt int, retryAfter time.Duration, r Rand) (wait time.Duration, ok bool) {
	if attempt < 1 || attempt > len(s.waits) {
		return 0, false
	}
	wait = time.Duration(float64(s.waits[attempt-1]) * (1 - jitter + 2*jitter*r.Float64()))
	return max(wait, min(retryAfter, MaxRetryAfter)), true
}

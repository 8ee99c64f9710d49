package webhook

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// MaxRetryAfter is the longest wait that a receiver can ask for.
const MaxRetryAfter = 24 * time.Hour

// ParseRetryAfter reads a Retry-After header (RFC 9110, section 10.2.3):
// seconds, or an HTTP date that is compared with now. It returns 0 for what is
// past, negative or unreadable, and never more than [MaxRetryAfter].
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		return retrySeconds(value)
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), MaxRetryAfter)
}

// retrySeconds reads digits. A number too large for any integer is a long
// wait, not an error.
func retrySeconds(digits string) time.Duration {
	seconds := int64(0)
	for i := range len(digits) {
		if seconds > math.MaxInt64/10-9 {
			return MaxRetryAfter
		}
		seconds = seconds*10 + int64(digits[i]-'0')
	}
	if seconds > int64(MaxRetryAfter/time.Second) {
		return MaxRetryAfter
	}
	return time.Duration(seconds) * time.Second
}

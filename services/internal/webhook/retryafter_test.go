package webhook

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                                  0,
		" ":                                 0,
		"0":                                 0,
		"1":                                 time.Second,
		" 120 ":                             2 * time.Minute,
		"0060":                              time.Minute,
		"86399":                             MaxRetryAfter - time.Second,
		"86400":                             MaxRetryAfter,
		"86401":                             MaxRetryAfter,
		"9223372036854775807":               MaxRetryAfter,
		"9223372036854775808":               MaxRetryAfter,
		strings.Repeat("9", 500):            MaxRetryAfter,
		"-1":                                0,
		"+5":                                0,
		"1.5":                               0,
		"5s":                                0,
		"1e3":                               0,
		"soon":                              0,
		"Wed, 04 Mar 2026 05:06:37 GMT":     30 * time.Second,
		"Wednesday, 04-Mar-26 05:07:07 GMT": time.Minute,
		"Wed Mar  4 05:06:09 2026":          2 * time.Second,
		"Wed, 04 Mar 2026 05:06:07 GMT":     0,
		"Wed, 04 Mar 2026 05:06:06 GMT":     0,
		"Thu, 01 Jan 1970 00:00:00 GMT":     0,
		"Thu, 05 Mar 2026 05:06:07 GMT":     MaxRetryAfter,
		"Thu, 05 Mar 2026 05:06:08 GMT":     MaxRetryAfter,
		"Fri, 31 Dec 9999 23:59:59 GMT":     MaxRetryAfter,
		"Wed, 04 Mar 2026 05:06:37":         0,
	} {
		require.Equal(t, want, ParseRetryAfter(value, now), value)
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, value := range []string{"1", "-1", "86400", "99999999999999999999", "Wed, 04 Mar 2026 05:06:37 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(value, int64(1_700_000_000))
	}
	f.Fuzz(func(t *testing.T, value string, seconds int64) {
		wait := ParseRetryAfter(value, time.Unix(seconds, 0))
		require.GreaterOrEqual(t, wait, time.Duration(0))
		require.LessOrEqual(t, wait, MaxRetryAfter)
	})
}

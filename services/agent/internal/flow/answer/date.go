package answer

import (
	"time"

	"github.com/prosa-chat/prosa/services/agent/internal/flow/dates"
)

// date reads a date as people write it and gives it as ISO 8601 (YYYY-MM-DD).
func date(s string, now time.Time) (string, bool) {
	day, ok := dates.Parse(s, now)
	if !ok {
		return "", false
	}
	return day.Format(time.DateOnly), true
}

package deliveries

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

// Stored is one attempt as it is stored.
type Stored struct {
	Time       string `json:"time"` // RFC 3339 in UTC, with milliseconds
	DurationMS int64  `json:"durationMs"`
	StatusCode int    `json:"statusCode,omitempty"`
	// Error is the class of the failure, empty when the receiver acknowledged.
	Error string `json:"error,omitempty"`
	// Answer is the beginning of the receiver's answer, at most 1 KiB.
	Answer string `json:"answer,omitempty"`
}

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// keptAttempts is how many attempts of a delivery are kept: the last ones.
const keptAttempts = 50

// appendAttempt returns the JSON list with one more attempt, and without the
// oldest if it would be too long.
func appendAttempt(list []byte, began time.Time, outcome webhook.Outcome) ([]byte, error) {
	one, err := json.Marshal(Stored{
		Time:       began.UTC().Format(timeLayout),
		DurationMS: outcome.Duration.Milliseconds(),
		StatusCode: outcome.StatusCode,
		Error:      string(outcome.Err),
		Answer:     storable(outcome.Answer),
	})
	if err != nil {
		return nil, err
	}
	if list, err = dropOldest(list); err != nil {
		return nil, err
	}
	grown := make([]byte, 0, len(list)+len(one)+2)
	if len(list) < 2 {
		grown = append(grown, '[')
	} else {
		grown = append(append(grown, list[:len(list)-1]...), ',')
	}
	return append(append(grown, one...), ']'), nil
}

// dropOldest makes room for one more attempt in a list. One that may be too long
// is long enough to be seen by its bytes: an attempt has more than its time.
func dropOldest(list []byte) ([]byte, error) {
	if len(list) < keptAttempts*len(timeLayout) {
		return list, nil
	}
	var all []json.RawMessage
	if err := json.Unmarshal(list, &all); err != nil {
		return nil, err
	}
	if len(all) < keptAttempts {
		return list, nil
	}
	return json.Marshal(all[len(all)-keptAttempts+1:])
}

// storable makes text of what a stranger sent: no broken UTF-8 and no NUL,
// which PostgreSQL's text does not hold.
func storable(answer []byte) string {
	clean := true
	for _, b := range answer {
		clean = clean && b != 0
	}
	if clean && utf8.Valid(answer) {
		return string(answer)
	}
	text := make([]rune, 0, len(answer))
	for _, r := range string(answer) {
		if r == 0 {
			r = utf8.RuneError
		}
		text = append(text, r)
	}
	return string(text)
}

package deliveries

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/internal/webhook"
)

func TestTheLastAttemptsAreKept(t *testing.T) {
	for _, answer := range []string{"", "não"} {
		var list []byte
		for n := 1; n <= keptAttempts+3; n++ {
			var err error
			list, err = appendAttempt(list, time.UnixMilli(int64(n)), webhook.Outcome{StatusCode: n, Answer: []byte(answer)})
			require.NoError(t, err)
			var all []Stored
			require.NoError(t, json.Unmarshal(list, &all))
			require.Len(t, all, min(n, keptAttempts))
			require.Equal(t, max(1, n-keptAttempts+1), all[0].StatusCode)
			require.Equal(t, n, all[len(all)-1].StatusCode)
			require.Equal(t, answer, all[0].Answer)
		}
	}
}

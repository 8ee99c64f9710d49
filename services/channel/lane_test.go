package channel_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// A lane gives its place to others now and then; it must get it back without
// waiting for the poll, which is an hour here.
func TestALongLaneWaitsForNoPoll(t *testing.T) {
	const long = 100
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db, withConfig(channel.Config{Poll: time.Hour}))
		answered := make(chan struct{})
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n == 1 {
				<-answered // until everything that follows waits in the lane
			}
			acknowledge(w)
		})
		r.start()
		c := r.create()
		for i := range long {
			r.send(c, "p", fmt.Sprint(i))
		}
		r.eventually(func() bool { return r.backlog().Messages == 0 }, "every message has a turn")
		close(answered)
		r.receiver.await(t, long)
		r.eventually(func() bool { return r.backlog().Deliveries == 0 }, "the lane is empty")
		require.Len(t, r.receiver.await(t, long), long)
	})
}

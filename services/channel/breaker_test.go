package channel_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// tripped checks the metric of open breakers.
func (r *rig) tripped(n int) {
	r.t.Helper()
	families, err := r.metrics.Gather()
	require.NoError(r.t, err)
	for _, family := range families {
		if family.GetName() == "prosa_channel_endpoints_tripped" {
			require.EqualValues(r.t, n, family.GetMetric()[0].GetGauge().GetValue())
			return
		}
	}
	require.Fail(r.t, "no such metric")
}

func TestADeadEndpointCostsOneProbeAtATimeAndItsHeadsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		const people, trip = 40, 10
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual), withConfig(channel.Config{
			Poll: 20 * time.Millisecond, Schedule: waits(t, "168h,168h"), DeliveriesPerEndpoint: 1,
		})).start()
		c := r.create()
		var well atomic.Bool
		r.receiver.answer(func(_ int, _ hook, w http.ResponseWriter) {
			if !well.Load() {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			acknowledge(w)
		})
		for i := range people {
			r.send(c, fmt.Sprint("p", i), "oi")
		}
		attempted := func() (n int) {
			for i := range people {
				for _, d := range r.lane(c, fmt.Sprint("p", i)) {
					n += d.AttemptCount
				}
			}
			return n
		}
		r.eventually(func() bool { return r.backlog().Messages == 0 && attempted() == trip }, "the breaker has opened")
		r.tripped(1)
		// A look at the store comes every 20 ms; each wait begins when the probe before has failed.
		for n, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			r.advance(time.Duration(seconds)*time.Second - 20*time.Millisecond)
			for range 3 {
				r.advance(0)
			}
			require.Equal(t, trip+n, attempted(), "not before %d s", seconds)
			r.advance(20 * time.Millisecond)
			r.eventually(func() bool { return attempted() == trip+n+1 }, "one probe")
		}
		require.Equal(t, trip+9, r.receiver.count(), "one probe at a time, and nothing else")
		for i := range people {
			require.LessOrEqual(t, r.lane(c, fmt.Sprint("p", i))[0].AttemptCount, 1, "no schedule is burnt through")
		}
		well.Store(true)
		r.advance(time.Minute)
		r.eventually(func() bool { return r.backlog().Deliveries == trip+9 }, "at the first success everything goes on")
		r.tripped(0)
		require.Equal(t, people, r.receiver.count())
	})
}

func TestEveryFormOfRetryAfterKeepsTheWholeEndpointQuiet(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		value  string
		quiet  time.Duration // of the endpoint
		wait   time.Duration // of the delivery
	}{
		"seconds":                        {http.StatusTooManyRequests, "120", 2 * time.Minute, 2 * time.Minute},
		"a date":                         {http.StatusServiceUnavailable, noon.Add(3 * time.Minute).Format(http.TimeFormat), 3 * time.Minute, 3 * time.Minute},
		"a date in the past":             {http.StatusServiceUnavailable, noon.Add(-time.Hour).Format(http.TimeFormat), 0, time.Minute},
		"less than the schedule":         {http.StatusTooManyRequests, "1", time.Second, time.Minute},
		"more than a day":                {http.StatusTooManyRequests, "31536000", 24 * time.Hour, 24 * time.Hour},
		"more than any number":           {http.StatusServiceUnavailable, strings.Repeat("9", 300), 24 * time.Hour, 24 * time.Hour},
		"a date far away":                {http.StatusServiceUnavailable, "Fri, 31 Dec 9999 23:59:59 GMT", 24 * time.Hour, 24 * time.Hour},
		"negative":                       {http.StatusTooManyRequests, "-5", 0, time.Minute},
		"no number and no date":          {http.StatusTooManyRequests, "soon", 0, time.Minute},
		"nothing":                        {http.StatusServiceUnavailable, "", 0, time.Minute},
		"a status that is about the one": {http.StatusInternalServerError, "120", 0, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			manual := clock.NewManual(noon)
			r := newRig(t, onSQLite(t), withClock(manual), withConfig(channel.Config{Poll: 20 * time.Millisecond, Schedule: waits(t, "1m")})).start()
			c := r.create()
			r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
				if n > 1 {
					acknowledge(w)
					return
				}
				if test.value != "" {
					w.Header().Set("Retry-After", test.value)
				}
				w.WriteHeader(test.status)
			})
			r.send(c, "ana", "oi")
			r.attempted(c, "ana", 1)
			r.send(c, "bia", "oi")
			if test.quiet > 0 {
				r.eventually(func() bool { return len(r.lane(c, "bia")) == 1 }, "answered")
				r.advance(test.quiet - 20*time.Millisecond)
				for range 3 {
					r.advance(0)
				}
				require.Zero(t, r.lane(c, "bia")[0].AttemptCount)
				r.advance(20 * time.Millisecond)
			}
			r.eventually(func() bool { all := r.lane(c, "bia"); return len(all) == 1 && all[0].State == store.Delivered }, "another conversation")
			if ahead := noon.Add(test.wait - 20*time.Millisecond); manual.Now().Before(ahead) {
				r.advance(ahead.Sub(manual.Now()))
				for range 3 {
					r.advance(0)
				}
				require.Equal(t, 1, r.lane(c, "ana")[0].AttemptCount)
			}
			r.pump(manual, 20*time.Millisecond, func() bool { return r.backlog().Deliveries == 0 }, strconv.Itoa(test.status))
		})
	}
}

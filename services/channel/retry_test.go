package channel_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/prosa-chat/prosa/gen/go/prosa/agent/v1"
	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	messagev1 "github.com/prosa-chat/prosa/gen/go/prosa/message/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// attempted waits until the head of a person's lane has had n attempts and the
// result is stored.
func (r *rig) attempted(c *channelv1.Channel, person string, n int) store.Delivery {
	r.t.Helper()
	var d store.Delivery
	r.eventually(func() bool {
		all := r.lane(c, person)
		if len(all) > 0 {
			d = all[0]
		}
		return d.AttemptCount == n
	}, "attempt is stored")
	return d
}

// due reports whether a lane of an active channel is due now.
func (r *rig) due() bool {
	r.t.Helper()
	ready, err := r.store.ReadyEndpoints(r.t.Context(), r.clock.Now())
	require.NoError(r.t, err)
	return len(ready) > 0
}

type storedAttempt struct {
	Time       time.Time
	DurationMS int64 `json:"durationMs"`
	StatusCode int
	Error      string
	Answer     string
}

func attempts(t *testing.T, d store.Delivery) []storedAttempt {
	t.Helper()
	var all []storedAttempt
	require.NoError(t, json.Unmarshal(d.Attempts, &all))
	return all
}

func TestRetriesKeepTheScheduleThenTheDeliveryIsDeadAndTheLaneGoesOn(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual))
		c := r.create()
		r.agent.set(func(*agentv1.RunTurnRequest) ([]*messagev1.Message, error) {
			return []*messagev1.Message{text("um"), text("dois")}, nil
		})
		waits := []time.Duration{
			5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
			time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
		}
		r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
			if n <= len(waits)+1 {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			acknowledge(w)
		})
		r.start()
		r.send(c, "ana", "oi")
		for i, wait := range waits {
			r.attempted(c, "ana", i+1)
			r.advance(wait - time.Microsecond)
			require.False(t, r.due(), "before %s are over", wait)
			require.Len(t, r.receiver.await(t, i+1), i+1)
			r.advance(time.Microsecond)
			require.True(t, r.due())
			r.advance(time.Second) // the poll; its drift is less than any wait's jitter
		}
		// After so many failures in a row there is a probe now and then.
		r.pump(manual, time.Second, func() bool { return r.backlog().Deliveries == 0 }, "both settled")
		all := r.lane(c, "ana")
		require.Equal(t, store.Dead, all[0].State)
		require.Equal(t, store.Delivered, all[1].State)
		require.Equal(t, len(waits)+1, all[0].AttemptCount)

		got := r.receiver.await(t, len(waits)+2)
		for _, h := range got[:len(waits)+1] {
			require.NoError(t, h.bad)
			require.Equal(t, got[0].body, h.body, "the same body on every attempt")
			require.Equal(t, all[0].ID, h.header.Get("webhook-id"), "the same id on every attempt")
			require.Equal(t, "1", h.header.Get("Prosa-Sequence"))
		}
		require.Equal(t, "2", got[len(waits)+1].header.Get("Prosa-Sequence"))
		kept := attempts(t, all[0])
		require.Len(t, kept, len(waits)+1)
		require.Equal(t, 500, kept[0].StatusCode)
		require.Equal(t, "status", kept[0].Error)
		require.Equal(t, noon, kept[0].Time)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	manual := clock.NewManual(noon)
	r := newRig(t, onSQLite(t), withClock(manual)).start()
	c := r.create()
	r.receiver.answer(func(n int, _ hook, w http.ResponseWriter) {
		switch n {
		case 1:
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Retry-After", noon.Add(time.Hour).Format(http.TimeFormat))
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			acknowledge(w)
		}
	})
	r.send(c, "ana", "oi")
	r.attempted(c, "ana", 1)
	r.advance(119 * time.Second)
	require.False(t, r.due())
	r.advance(2 * time.Second)
	r.attempted(c, "ana", 2)
	r.advance(time.Hour - 122*time.Second)
	require.False(t, r.due())
	r.advance(2 * time.Second)
	r.drained()
	require.Equal(t, store.Delivered, r.lane(c, "ana")[0].State)
}

func TestWhatIsNoAcknowledgementIsAFailure(t *testing.T) {
	for name, reply := range map[string]func(w http.ResponseWriter){
		"200 with nothing":         func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"200 with another body":    func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"status":"error"}`) },
		"200 with broken JSON":     func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"status":"ok"`) },
		"201 with the right body":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); acknowledge(w) },
		"302 to somewhere":         func(w http.ResponseWriter) { w.Header().Set("Location", "/other"); w.WriteHeader(http.StatusFound) },
		"200 with bytes of no use": func(w http.ResponseWriter) { _, _ = w.Write([]byte{0, 0xff, 0xfe}) },
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, db *sqldb.DB) {
				r := newRig(t, db, withClock(clock.NewManual(noon))).start()
				c := r.create()
				r.receiver.answer(func(_ int, _ hook, w http.ResponseWriter) { reply(w) })
				r.send(c, "ana", "oi")
				d := r.attempted(c, "ana", 1)
				require.Equal(t, store.Pending, d.State)
				require.NotEmpty(t, attempts(t, d)[0].Error)
			})
		})
	}
}

func TestAny2xxAcknowledgesWhereTheChannelSaysSo(t *testing.T) {
	r := newRig(t, onSQLite(t)).start()
	c := r.create(func(c *channelv1.Channel) { c.Acknowledgement = channelv1.Channel_ANY_2XX })
	r.receiver.answer(func(_ int, _ hook, w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) })
	r.send(c, "ana", "oi")
	r.drained()
	require.Equal(t, store.Delivered, r.lane(c, "ana")[0].State)
}

func TestTheAnswerOfTheReceiverIsKeptInPart(t *testing.T) {
	r := newRig(t, onSQLite(t), withClock(clock.NewManual(noon))).start()
	c := r.create()
	long := make([]byte, 200<<10)
	for i := range long {
		long[i] = 'x'
	}
	r.receiver.answer(func(_ int, _ hook, w http.ResponseWriter) { _, _ = w.Write(long) })
	r.send(c, "ana", "oi")
	d := r.attempted(c, "ana", 1)
	require.Len(t, attempts(t, d)[0].Answer, 1024)
}

func TestGoneDisablesTheChannelAndKeepsItsQueue(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual)).start()
		c := r.create()
		r.receiver.answer(func(_ int, _ hook, w http.ResponseWriter) { w.WriteHeader(http.StatusGone) })
		r.send(c, "ana", "oi")
		r.attempted(c, "ana", 1)
		got, err := r.channels.GetChannel(t.Context(), &channelv1.GetChannelRequest{Instance: "acme", Id: c.GetId()})
		require.NoError(t, err)
		require.Equal(t, channelv1.Channel_DISABLED, got.GetChannel().GetState())
		require.Contains(t, got.GetChannel().GetStateReason(), "410")

		r.send(c, "ana", "mais")
		r.eventually(func() bool { return len(r.lane(c, "ana")) == 2 }, "the agent still answers")
		r.advance(48 * time.Hour)
		require.False(t, r.due())
		require.Len(t, r.receiver.await(t, 1), 1)
		require.EqualValues(t, 2, r.backlog().Deliveries)

		// Somebody makes it active again: it goes on where it was.
		r.receiver.answer(nil)
		moved, err := r.store.SetState(t.Context(), "acme", c.GetId(), store.Disabled, store.Active, "", manual.Now())
		require.NoError(t, err)
		require.True(t, moved)
		r.advance(3 * time.Second)
		r.drained()
		require.Equal(t, store.Delivered, r.lane(c, "ana")[1].State)
	})
}

func TestAPausedChannelIsNotDeliveredTo(t *testing.T) {
	manual := clock.NewManual(noon)
	r := newRig(t, onSQLite(t), withClock(manual))
	c, other := r.create(), r.create()
	_, err := r.store.SetState(t.Context(), "acme", c.GetId(), store.Active, store.Paused, "", manual.Now())
	require.NoError(t, err)
	r.start()
	r.send(c, "ana", "oi")
	r.send(other, "ana", "oi")
	r.eventually(func() bool { b := r.backlog(); return b.Messages == 0 && b.Deliveries == 1 }, "only the other one's is delivered")
	require.Equal(t, store.Pending, r.lane(c, "ana")[0].State)
	require.Zero(t, r.lane(c, "ana")[0].AttemptCount)
}

func TestAShortSchedule(t *testing.T) {
	schedule, err := webhook.ParseSchedule("1s")
	require.NoError(t, err)
	manual := clock.NewManual(noon)
	r := newRig(t, onSQLite(t), withClock(manual), withConfig(channel.Config{Schedule: schedule})).start()
	c := r.create()
	r.receiver.answer(func(_ int, _ hook, w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) })
	r.send(c, "ana", "oi")
	r.attempted(c, "ana", 1)
	r.advance(2 * time.Second)
	require.Equal(t, store.Dead, r.attemptedAndSettled(c).State)
}

func (r *rig) attemptedAndSettled(c *channelv1.Channel) store.Delivery {
	r.t.Helper()
	r.drained()
	return r.lane(c, "ana")[0]
}

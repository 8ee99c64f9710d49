package channel_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	channelv1 "github.com/prosa-chat/prosa/gen/go/prosa/channel/v1"
	"github.com/prosa-chat/prosa/services/channel"
	"github.com/prosa-chat/prosa/services/channel/internal/store"
	"github.com/prosa-chat/prosa/services/internal/clock"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
	"github.com/prosa-chat/prosa/services/internal/webhook"
)

func policy(p channelv1.Channel_FailurePolicy, skipAfter time.Duration) func(*channelv1.Channel) {
	return func(c *channelv1.Channel) {
		c.FailurePolicy = p
		if skipAfter > 0 {
			c.SkipAfter = durationpb.New(skipAfter)
		}
	}
}

func waits(t testing.TB, text string) webhook.Schedule {
	t.Helper()
	schedule, err := webhook.ParseSchedule(text)
	require.NoError(t, err)
	return schedule
}

// refuse answers 500 to the first n requests.
func refuse(n int) func(int, hook, http.ResponseWriter) {
	return func(number int, _ hook, w http.ResponseWriter) {
		if number <= n {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		acknowledge(w)
	}
}

// attemptsOf waits until the delivery of a person with the given number has had
// n attempts.
func (r *rig) attemptsOf(c *channelv1.Channel, person string, sequence, n int) store.Delivery {
	r.t.Helper()
	var d store.Delivery
	r.eventually(func() bool {
		all := r.lane(c, person)
		if len(all) < sequence {
			return false
		}
		d = all[sequence-1]
		return d.AttemptCount == n
	}, fmt.Sprintf("attempt %d of delivery %d is stored", n, sequence))
	return d
}

func states(all []store.Delivery) (found []store.DeliveryState) {
	for _, d := range all {
		found = append(found, d.State)
	}
	return found
}

func TestThePolicyOfAChannelIsKept(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r := newRig(t, db)
		c := r.create()
		require.Equal(t, channelv1.Channel_SKIP, c.GetFailurePolicy())
		require.Nil(t, c.GetSkipAfter())
		other := r.create(policy(channelv1.Channel_PARK, 90*time.Second))
		require.Equal(t, channelv1.Channel_PARK, r.get(other).GetFailurePolicy())
		require.Equal(t, 90*time.Second, r.get(other).GetSkipAfter().AsDuration())
		update := func(to *channelv1.Channel, paths ...string) *channelv1.Channel {
			to.Id = other.GetId()
			answer, err := r.channels.UpdateChannel(t.Context(), &channelv1.UpdateChannelRequest{
				Instance: "acme", Id: other.GetId(), Channel: to, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
			})
			require.NoError(t, err)
			return answer.GetChannel()
		}
		got := update(&channelv1.Channel{FailurePolicy: channelv1.Channel_HOLD}, "failure_policy")
		require.Equal(t, channelv1.Channel_HOLD, got.GetFailurePolicy())
		require.Equal(t, 90*time.Second, got.GetSkipAfter().AsDuration())
		got = update(&channelv1.Channel{}, "failure_policy", "skip_after")
		require.Equal(t, channelv1.Channel_SKIP, got.GetFailurePolicy())
		require.Nil(t, got.GetSkipAfter())
	})
}

func TestAHeldDeliveryIsNeverGivenUp(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		manual := clock.NewManual(noon)
		r := newRig(t, db, withClock(manual), withConfig(channel.Config{Poll: 20 * time.Millisecond, Schedule: waits(t, "1m,2m")})).start()
		c := r.create(policy(channelv1.Channel_HOLD, 30*time.Second))
		r.receiver.answer(refuse(8))
		r.send(c, "ana", "um")
		r.attemptsOf(c, "ana", 1, 1)
		r.send(c, "ana", "dois")
		r.attemptsOf(c, "ana", 2, 0)
		for n, wait := range []time.Duration{time.Minute, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute} {
			r.advance(wait - time.Microsecond)
			require.False(t, r.due())
			r.advance(20 * time.Millisecond)
			r.attemptsOf(c, "ana", 1, n+2)
		}
		require.Equal(t, store.Pending, r.lane(c, "ana")[1].State)
		require.Zero(t, r.lane(c, "ana")[1].AttemptCount)
		r.pump(manual, time.Second, func() bool { return r.backlog().Deliveries == 0 }, "delivered at last")
		require.Equal(t, []store.DeliveryState{store.Delivered, store.Delivered}, states(r.lane(c, "ana")))
		require.Equal(t, 9, r.lane(c, "ana")[0].AttemptCount)
	})
}

func TestADeliveryIsGivenUpAfterATimeIfTheChannelSaysSo(t *testing.T) {
	for _, p := range []channelv1.Channel_FailurePolicy{channelv1.Channel_SKIP, channelv1.Channel_PARK} {
		t.Run(p.String(), func(t *testing.T) {
			onEach(t, func(t *testing.T, db *sqldb.DB) {
				manual := clock.NewManual(noon)
				r := newRig(t, db, withClock(manual), withConfig(channel.Config{Poll: 20 * time.Millisecond, Schedule: waits(t, "10s,1m,1h,1h")})).start()
				c := r.create(policy(p, 3*time.Minute))
				r.receiver.answer(refuse(4))
				r.send(c, "ana", "um")
				r.attemptsOf(c, "ana", 1, 1)
				r.send(c, "ana", "dois")
				r.attemptsOf(c, "ana", 2, 0)
				r.advance(10 * time.Second)
				r.advance(20 * time.Millisecond)
				r.attemptsOf(c, "ana", 1, 2)
				r.advance(time.Minute)
				r.advance(20 * time.Millisecond)
				r.attemptsOf(c, "ana", 1, 3)
				// An hour would be the wait; the time is over before.
				manual.Set(noon.Add(3*time.Minute - time.Millisecond))
				require.False(t, r.due())
				require.Equal(t, store.Pending, r.lane(c, "ana")[0].State)
				r.pump(manual, 20*time.Millisecond, func() bool { return r.lane(c, "ana")[0].State == store.Dead }, "given up")
				require.Equal(t, 4, r.lane(c, "ana")[0].AttemptCount)
				if p == channelv1.Channel_SKIP {
					r.drained()
					require.Equal(t, store.Delivered, r.lane(c, "ana")[1].State)
				} else {
					require.EqualValues(t, 1, r.backlog().Parked)
				}
			})
		})
	}
}

// parked makes a channel with two deliveries, the first of which is dead and has
// its conversation parked.
func parked(t *testing.T, db *sqldb.DB) (*rig, *clock.Manual, *channelv1.Channel) {
	manual := clock.NewManual(noon)
	r := newRig(t, db, withClock(manual), withConfig(channel.Config{Poll: 20 * time.Millisecond, Schedule: waits(t, "1s")})).start()
	c := r.create(policy(channelv1.Channel_PARK, 0))
	r.receiver.answer(refuse(2))
	r.send(c, "ana", "um")
	r.attemptsOf(c, "ana", 1, 1)
	r.send(c, "ana", "dois")
	r.attemptsOf(c, "ana", 2, 0)
	r.pump(manual, 20*time.Millisecond, func() bool { return r.backlog().Parked == 1 }, "parked")
	r.send(c, "ana", "três")
	r.eventually(func() bool { return len(r.lane(c, "ana")) == 3 }, "what comes then waits")
	r.send(c, "bia", "outra")
	r.eventually(func() bool { all := r.lane(c, "bia"); return len(all) == 1 && all[0].State == store.Delivered }, "others go on")
	manual.Advance(1000 * time.Hour)
	r.advance(time.Second)
	r.advance(time.Second)
	require.Equal(t, []store.DeliveryState{store.Dead, store.Pending, store.Pending}, states(r.lane(c, "ana")))
	require.EqualValues(t, 2, r.backlog().Deliveries)
	require.Equal(t, 3, r.receiver.count())
	return r, manual, c
}

// contactIn is whom a webhook is about.
func contactIn(h hook) string { return h.body[len(`{"contactId":"`):][:24] }

// sequences are those of a person's deliveries as they came to the receiver.
func (r *rig) sequences(person string) (found []string) {
	for _, h := range r.receiver.await(r.t, 1) {
		if contactIn(h) == contactOf(person) {
			found = append(found, h.header.Get("prosa-sequence"))
		}
	}
	return found
}

func TestAParkedConversationGoesOnWhereItWasWhenItsDeliveryIsRetried(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r, _, c := parked(t, db)
		dead := r.lane(c, "ana")[0]
		_, err := r.outbox.RetryDelivery(t.Context(), &channelv1.RetryDeliveryRequest{Instance: "acme", Id: dead.ID})
		require.NoError(t, err)
		r.drained()
		require.Equal(t, []string{"1", "1", "1", "2", "3"}, r.sequences("ana"))
		require.Equal(t, []store.DeliveryState{store.Delivered, store.Delivered, store.Delivered}, states(r.lane(c, "ana")))
		require.Len(t, attempts(t, r.lane(c, "ana")[0]), 3, "all that was tried is known")
		require.Zero(t, r.backlog().Parked)
	})
}

func TestAParkedConversationGoesOnBehindItsDeadDeliveryWhenTheChannelIsResumed(t *testing.T) {
	onEach(t, func(t *testing.T, db *sqldb.DB) {
		r, _, c := parked(t, db)
		r.resume(c)
		r.drained()
		require.Equal(t, []string{"1", "1", "2", "3"}, r.sequences("ana"))
		require.Equal(t, []store.DeliveryState{store.Dead, store.Delivered, store.Delivered}, states(r.lane(c, "ana")))
	})
}

func TestAnotherWebhookLeavesAParkedConversationParked(t *testing.T) {
	r, _, c := parked(t, onSQLite(t))
	_, err := r.channels.UpdateChannel(t.Context(), &channelv1.UpdateChannelRequest{
		Instance: "acme", Id: c.GetId(), Channel: &channelv1.Channel{Id: c.GetId(), WebhookUrl: r.receiver.URL + "/moved"},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"webhook_url"}},
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, r.backlog().Parked)
	require.Equal(t, 3, r.receiver.count())
}
